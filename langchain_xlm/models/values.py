"""One loading value at a time: whatever a caller may write becomes its one canonical form.

Every function here raises `ConfigurationError` with the value and the valid choices, reads no
file and imports no heavy package.
"""

from __future__ import annotations

import difflib
import json
import os
import re
from collections.abc import Iterable, Mapping
from pathlib import Path

from langchain_xlm.errors import ConfigurationError

__all__ = [
    "attention_name",
    "bytes_of",
    "device_map_value",
    "device_name",
    "dtype_name",
    "memory_limits",
    "model_name",
    "pinned_name",
    "quantization_value",
    "revision_name",
]

STARTER = "starter"

_DEVICE = re.compile(r"cpu|mps|(cuda|xpu|npu|hpu)(:\d+)?")
_DTYPES = {
    "auto": "auto",
    "float32": "float32",
    "fp32": "float32",
    "float": "float32",
    "bfloat16": "bfloat16",
    "bf16": "bfloat16",
    "float16": "float16",
    "fp16": "float16",
    "half": "float16",
}
_DEVICE_MAPS = ("auto", "balanced", "balanced_low_0", "sequential")
ATTENTION = ("sdpa", "eager", "flash_attention_2", "flash_attention_3", "flex_attention")
_UNITS = {"B": 1, "KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12} | {
    f"{letter}IB": 2 ** (10 * power) for power, letter in enumerate("KMGT", 1)
}
# What a BitsAndBytesConfig holds, transformers 5.
_BITSANDBYTES_KEYS = frozenset({
    "load_in_8bit", "load_in_4bit", "llm_int8_threshold", "llm_int8_skip_modules",
    "llm_int8_enable_fp32_cpu_offload", "llm_int8_has_fp16_weight", "bnb_4bit_compute_dtype",
    "bnb_4bit_quant_type", "bnb_4bit_use_double_quant", "bnb_4bit_quant_storage",
})  # fmt: skip
_HUB_ID = re.compile(r"(?!.*(--|\.\.))(\w[\w.-]*/)?\w[\w.-]*(?<![.-])")


def model_name(value: object) -> str:
    """Make a hub id, the absolute path of a folder, or `"starter"`.

    A name is a folder when it is a `Path`, is written like one (`./x`, `/x`, `~/x`), or when a
    folder of that name is there, as transformers has it; `"starter"` is always the bundled one.

    Args:
        value: What the caller gave.

    Returns:
        The one form of it: only folders are absolute paths.

    Raises:
        ConfigurationError: It can be neither.
    """
    if isinstance(value, os.PathLike):
        return _absolute(os.fspath(value))
    if not isinstance(value, str) or not value.strip():
        raise ConfigurationError(
            f"model={value!r} names nothing. Give a hub id such as"
            " 'intfloat/multilingual-e5-base', a local folder, or 'starter'."
        )
    if value == STARTER:
        return value
    if "://" in value:
        raise ConfigurationError(
            f"model={value!r} is a web address. Give the hub id, the last two parts of a model"
            " page's address, such as 'intfloat/multilingual-e5-base'."
        )
    looks_local = value.startswith((".", "/", "~")) or "\\" in value or value.endswith("/")
    if looks_local or Path(value).is_dir():
        return _absolute(value)
    if not _HUB_ID.fullmatch(value):
        raise ConfigurationError(
            f"model={value!r} is neither a folder here nor a hub id (owner/name, of letters,"
            " digits, '-', '_' and '.'). For a folder give its path, such as './my-model'."
        )
    return value


def pinned_name(value: str) -> tuple[str, str | None]:
    """Read `owner/name@revision`, which pins a model named beside the main one.

    Args:
        value: A hub id with or without a revision, a folder, or `"starter"`.

    Returns:
        The name as `model_name` gives it, and the revision; None where there is none.

    Raises:
        ConfigurationError: The name or the revision can be none.
    """
    name, mark, revision = str(value).rpartition("@")
    if mark and _HUB_ID.fullmatch(name) and not Path(value).is_dir():
        return model_name(name), revision_name(revision)
    return model_name(value), None


def _absolute(path: str | bytes) -> str:
    return str(Path(os.fsdecode(path)).expanduser().absolute())


def revision_name(value: object) -> str | None:
    """A branch, tag, commit or `refs/pr/N`, or None for the repository's main branch."""
    if value is None or (isinstance(value, str) and value and not re.search(r"\s|\.\.", value)):
        return value
    raise ConfigurationError(
        f"revision={value!r} is no revision. Give a branch, a tag, a commit, or 'refs/pr/1'."
    )


def device_name(value: object) -> str | None:
    """`"cpu"`, `"cuda:1"` and the like; a number means a CUDA device."""
    if value is None:
        return None
    name = f"cuda:{value}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
    if not _DEVICE.fullmatch(name):
        advice = "device_map" if name in _DEVICE_MAPS else None
        raise ConfigurationError(
            f"device={value!r} is no device. "
            + (
                f"Give {advice}={name!r} instead."
                if advice
                else "Give 'cpu', 'cuda', 'cuda:1', 'mps', 'xpu', or None for the best one here."
            )
        )
    return name


def dtype_name(value: object) -> str:
    """`"auto"`, `"float32"`, `"bfloat16"` or `"float16"`; torch's own dtypes do as well."""
    name = str(value).removeprefix("torch.")
    if name not in _DTYPES:
        raise ConfigurationError(
            f"dtype={value!r} cannot be used.{_nearest(name, _DTYPES)} Give 'auto', 'float32',"
            " 'bfloat16' or 'float16'; for 8 or 4 bits give quantization='8bit' or '4bit'."
        )
    return _DTYPES[name]


def attention_name(value: object) -> str | None:
    """The name of an attention implementation of transformers."""
    if value is None or value in ATTENTION:
        return value if value is None else str(value)
    raise ConfigurationError(
        f"attn_implementation={value!r} is unknown.{_nearest(str(value), ATTENTION)}"
        f" Give one of {', '.join(ATTENTION)}."
    )


def device_map_value(value: object) -> str | dict[str, str | int] | None:
    """One of accelerate's strategies, or a map from module names to devices."""
    if value is None or (isinstance(value, str) and value in _DEVICE_MAPS):
        return value
    pairs = _pairs(value)
    if not pairs:
        is_device = isinstance(value, str) and _DEVICE.fullmatch(value)
        raise ConfigurationError(
            f"device_map={value!r} is no device map. "
            + (
                f"Give device={value!r} instead."
                if is_device
                else f"Give one of {', '.join(_DEVICE_MAPS)}, or a map such as {{'': 'cuda:0'}}."
            )
        )
    placed: dict[str, str | int] = {}
    for name, place in sorted(pairs):
        numbered = isinstance(place, int) and place >= 0
        known = numbered or place == "disk" or _DEVICE.fullmatch(str(place))
        if not known or isinstance(place, bool):
            raise ConfigurationError(
                f"device_map sends {name!r} to {place!r}, which is no place."
                " Give a device number, 'cpu', 'cuda:0', 'mps' or 'disk'."
            )
        placed[str(name)] = place if isinstance(place, int) else str(place)
    return placed


def memory_limits(value: object) -> dict[str | int, int] | None:
    """Bytes that may be used on each device."""
    if value is None:
        return None
    pairs = _pairs(value)
    if not pairs:
        raise ConfigurationError(
            f"max_memory={value!r} is no table of limits. Give for example"
            " {0: '6GiB', 'cpu': '16GiB'}."
        )
    limits: dict[str | int, int] = {}
    for device, size in sorted(pairs, key=str):
        numbered = isinstance(device, int) and not isinstance(device, bool) and device >= 0
        if not numbered and device not in ("cpu", "mps", "disk"):
            raise ConfigurationError(
                f"max_memory has a limit for {device!r}, which is no device. Give a device number"
                " such as 0, or 'cpu', 'mps' or 'disk'."
            )
        assert isinstance(device, (int, str))
        limits[device] = bytes_of(size, what="max_memory")
    return limits


def bytes_of(size: object, *, what: str) -> int:
    """Bytes, from a number of them or a text such as `"6GiB"`; `what` is named in the error."""
    if isinstance(size, int) and not isinstance(size, bool) and size >= 0:
        return size
    written = re.fullmatch(r"(\d+(?:\.\d+)?)\s*([KMGT]?I?B)", str(size).upper())
    if not written or written[2] not in _UNITS:
        raise ConfigurationError(
            f"{what} has {size!r}, which is no size. Give bytes, or a text such as '6GiB'."
        )
    return int(float(written[1]) * _UNITS[written[2]])


def quantization_value(value: object) -> str | None:
    """None, `"8bit"`, `"4bit"`, or a `BitsAndBytesConfig` as sorted JSON."""
    if value is None or value in ("8bit", "4bit"):
        return value if value is None else str(value)
    if isinstance(value, str) and value.startswith("{"):
        value = _json(value)
    method = getattr(value, "quant_method", None)
    if method == "bitsandbytes" and hasattr(value, "to_dict"):
        value = value.to_dict()
    if not isinstance(value, Mapping):
        found = f"a {type(value).__name__}" if method else repr(value)
        raise ConfigurationError(
            f"quantization={found} is unknown. Give '8bit', '4bit', a BitsAndBytesConfig, or None."
        )
    settings = {
        key: _plain(setting)
        for key, setting in value.items()
        if not key.startswith("_") and key != "quant_method"
    }
    strange = sorted(settings.keys() - _BITSANDBYTES_KEYS)
    if strange:
        raise ConfigurationError(
            f"quantization has {strange[0]!r}, which BitsAndBytesConfig does not know."
            f"{_nearest(strange[0], _BITSANDBYTES_KEYS)}"
        )
    kind = settings.get("bnb_4bit_quant_type", "nf4")
    if kind not in ("nf4", "fp4"):
        raise ConfigurationError(
            f"bnb_4bit_quant_type={kind!r} is unknown. Give 'nf4', which suits weights, or 'fp4'."
        )
    if bool(settings.get("load_in_8bit")) == bool(settings.get("load_in_4bit")):
        raise ConfigurationError(
            "A quantization config must set exactly one of load_in_8bit and load_in_4bit."
        )
    return json.dumps(settings, sort_keys=True)


def _json(text: str) -> object:
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _plain(setting: object) -> object:
    if setting is None or isinstance(setting, (bool, int, float, str)):
        return setting
    if isinstance(setting, (list, tuple, set, frozenset)):
        return sorted(str(item) for item in setting)
    return str(setting).removeprefix("torch.")


def _pairs(value: object) -> list[tuple[object, object]]:
    """The pairs of a mapping, or of a tuple of pairs (the form that a LoadSpec keeps)."""
    if isinstance(value, Mapping):
        return list(value.items())
    return [(key, item) for key, item in value] if isinstance(value, tuple) else []


def _nearest(value: str, choices: Iterable[str]) -> str:
    near = difflib.get_close_matches(value, list(choices), n=1)
    return f" Did you mean {near[0]!r}?" if near else ""
