"""Where the model goes and in which numbers: from a spec to `from_pretrained` arguments."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import ConfigurationError, MissingDependencyError
from langchain_xlm.models import files
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.families import Family, families_of

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

__all__ = [
    "check_offload",
    "check_packages",
    "default_dtype",
    "from_pretrained_arguments",
    "import_bitsandbytes",
    "input_device",
    "quantization_settings",
    "repacks_weights",
]


# Where the name to import is not the name to install; its parent is there in any case or not.
_IMPORT_NAMES = {"protobuf": "google"}
# The modules of classification heads: of the XLM-R kinds, and of XLM.
_HEADS = ("classifier", "sequence_summary.summary")

# What bitsandbytes repacks 4-bit weights in, on CPUs with AVX512-BF16.
_BLOCK_COLUMNS, _BLOCK_ROWS = 64, 32


def check_packages(spec: LoadSpec, settings: Mapping[str, Any]) -> None:
    """Refuse early where a package that this way of loading needs is not installed.

    Args:
        spec: What to load.
        settings: The content of config.json.

    Raises:
        MissingDependencyError: With the package to install.
        ConfigurationError: The checkpoint is saved quantized in a way that is not supported.
    """
    rows = families_of(settings.get("model_type"), task=spec.task, model=spec.model)
    needs = dict.fromkeys(rows[0].packages, f"The tokenizer of {rows[0].name}")
    saved = settings.get("quantization_config") or {}
    if (method := saved.get("quant_method", "bitsandbytes")) != "bitsandbytes":
        raise ConfigurationError(
            f"{spec.model!r} is saved quantized with {method!r}, which is not supported. Give the"
            " checkpoint that it was made from, with quantization='4bit'."
        )
    if spec.quantization is not None or saved.get("quant_method") == "bitsandbytes":
        needs["bitsandbytes"] = "Quantization"
    if spec.quantization is not None or spec.device_map is not None:
        needs["accelerate"] = "Placing parts of a model"
    if not rows[0].packages and files.find_file(spec, "tokenizer.json") is None:
        needs["protobuf"] = "A tokenizer that is not saved as tokenizer.json"
    for package, needed_for in needs.items():
        if importlib.util.find_spec(_IMPORT_NAMES.get(package, package)) is None:
            raise MissingDependencyError(package, needed_for=needed_for)
    if "bitsandbytes" in needs:
        import_bitsandbytes()


def from_pretrained_arguments(
    spec: LoadSpec, config: PreTrainedConfig, family: Family, model_class: type
) -> dict[str, Any]:
    """Make the arguments that place the model; none of them is for the tokenizer.

    Args:
        spec: What to load.
        config: The checkpoint's own configuration.
        family: The row of the family table.
        model_class: The auto class that will load it.

    Returns:
        `dtype`, and where they are needed `device_map`, `max_memory`, `offload_folder`,
        `quantization_config` and `attn_implementation`.

    Raises:
        ConfigurationError: This machine lacks the device, or the family cannot be split as asked.
    """
    places = _places(spec, family)
    main = _main_device(places)
    dtype = _dtype(spec, family, main)
    arguments: dict[str, Any] = {"dtype": dtype}
    _check_numbers(spec, family, main)
    if places != {"": "cpu"} or spec.device_map is not None:
        arguments["device_map"] = places
    if isinstance(places, str) and spec.max_memory is not None:
        arguments["max_memory"] = dict(spec.max_memory)
    if spec.offload_folder is not None:
        arguments["offload_folder"] = spec.offload_folder
    if spec.attn_implementation is not None:
        arguments["attn_implementation"] = spec.attn_implementation
    if spec.quantization is not None:
        if getattr(config, "quantization_config", None) is not None:
            raise ConfigurationError(
                f"{spec.model!r} is saved quantized already. Leave quantization out."
            )
        if main == "mps":
            raise ConfigurationError(
                "Quantization is not supported on this machine's device 'mps'."
                " Give device='cpu' with the quantization, or leave it out."
            )
        arguments["quantization_config"] = quantization_settings(
            spec, config, model_class, dtype=dtype, device=main
        )
    return arguments


def check_offload(spec: LoadSpec, model: PreTrainedModel) -> None:
    """Refuse a model with shared weights on the disk, which would fail when it runs.

    Weights that two modules share are saved once, under the name of one; accelerate looks on the
    disk for each under its own name.

    Args:
        spec: What was loaded.
        model: The model, placed.

    Raises:
        ConfigurationError: With the module to place elsewhere.
    """
    places = getattr(model, "hf_device_map", None) or {}
    if "disk" not in places.values():
        return
    for name in sorted(model.all_tied_weights_keys):
        owners = [part for part in places if not part or f"{name}.".startswith(f"{part}.")]
        if owners and places[max(owners, key=len)] == "disk":
            raise ConfigurationError(
                f"{spec.model!r} shares the weights {name}, which the device map sends to the"
                f" disk, where they cannot be shared. Give {name.rpartition('.')[0]!r} a place of"
                " its own, such as 'cpu', or max_memory more room."
            )


def input_device(model: PreTrainedModel) -> torch.device:
    """Tell where inputs must go, whole or split model alike.

    Args:
        model: A loaded model.

    Returns:
        The device on which the first layer runs.
    """
    import torch

    placed = getattr(model, "hf_device_map", None) or {}
    running = [place for place in placed.values() if place != "disk"]
    if running:
        first = next((place for place in running if place != "cpu"), "cpu")
        return torch.device(first)
    return torch.device(model.device)


def _places(spec: LoadSpec, family: Family) -> str | dict[str, str | int]:
    """The device map: a strategy, a map, or the whole model on one device."""
    if spec.places:
        if family.keep_whole and len(set(spec.places.values())) > 1:
            raise ConfigurationError(
                f"Models of the family {family.name} cannot be split over devices."
                " Give device='cuda:0' or another one for the whole model."
            )
        for place in set(spec.places.values()):
            if place != "disk":
                _check_device(f"cuda:{place}" if isinstance(place, int) else place)
        return spec.places
    if isinstance(spec.device_map, str) and not family.keep_whole:
        return spec.device_map
    if spec.device is not None:
        _check_device(spec.device)
        return {"": spec.device}
    return {"": _best_device(spec)}


def _best_device(spec: LoadSpec) -> str:
    import torch

    limits = dict(spec.max_memory) if isinstance(spec.max_memory, tuple) else {}
    for index in range(torch.cuda.device_count() if torch.cuda.is_available() else 0):
        if limits.get(index, 1) > 0:
            return f"cuda:{index}"
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        return "xpu"
    if torch.backends.mps.is_available() and limits.get("mps", 1) > 0:
        return "mps"
    return "cpu"


def _check_device(name: str) -> None:
    import torch

    kind, _, index = name.partition(":")
    if kind == "cpu":
        return
    backend = torch.backends.mps if kind == "mps" else getattr(torch, kind, None)
    if backend is None or not backend.is_available():
        raise ConfigurationError(
            f"device={name!r} is not available on this machine. Give device='cpu', or None for"
            " the best one here."
        )
    if index and int(index) >= backend.device_count():
        raise ConfigurationError(
            f"device={name!r} is not there: this machine has {backend.device_count()} of its"
            f" kind, counted from 0. Give device='{kind}:0'."
        )


def _main_device(places: str | dict[str, str | int]) -> str:
    """The kind of device that does the computing."""
    import torch

    if isinstance(places, str):
        return "cuda" if torch.cuda.is_available() else "cpu"
    running = [f"cuda:{place}" if isinstance(place, int) else place for place in places.values()]
    return next((place for place in running if place not in ("cpu", "disk")), "cpu")


def _dtype(spec: LoadSpec, family: Family, device: str) -> torch.dtype:
    """Full precision on CPU; on CUDA bfloat16, or float16 where that is all there is."""
    import torch

    if spec.dtype != "auto":
        chosen = getattr(torch, spec.dtype)
        assert isinstance(chosen, torch.dtype)
        return chosen
    if not device.startswith("cuda"):
        return torch.float32
    if torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32 if family.overflows_in_float16 else torch.float16


def _check_numbers(spec: LoadSpec, family: Family, device: str) -> None:
    """Refuse what this family or this machine cannot compute."""
    if spec.dtype == "float16" and family.overflows_in_float16:
        raise ConfigurationError(
            f"{family.name} models pass the largest float16 while they compute."
            " Give dtype='bfloat16', or 'float32'."
        )
    if not (spec.attn_implementation or "").startswith("flash_attention"):
        return
    if not device.startswith(("cuda", "xpu", "npu")):
        raise ConfigurationError(
            f"attn_implementation={spec.attn_implementation!r} needs a GPU, but the model would"
            f" run on {device!r}. Give 'sdpa' instead."
        )
    if not any(importlib.util.find_spec(name) for name in ("flash_attn", "kernels")):
        raise MissingDependencyError(
            "flash-attn", needed_for=f"attn_implementation={spec.attn_implementation!r}"
        )


def default_dtype(
    spec: LoadSpec, family: Family, config: PreTrainedConfig, device: str
) -> torch.dtype:
    """Tell in which dtype a model is loaded.

    Args:
        spec: What to load.
        family: The row of the family table.
        config: The checkpoint's own configuration.
        device: The device that computes, such as `"cuda:0"`.

    Returns:
        The dtype that is asked for, or for `"auto"` the one that suits the device.
    """
    return _dtype(spec, family, device)


def quantization_settings(
    spec: LoadSpec,
    config: PreTrainedConfig,
    model_class: Any,
    *,
    dtype: torch.dtype,
    device: str,
) -> BitsAndBytesConfig:
    """Spell out what the quantization of a spec means for one checkpoint.

    Args:
        spec: What to load, quantized.
        config: The checkpoint's own configuration.
        model_class: The auto class that will load it.
        dtype: In which 4-bit layers compute.
        device: The device that computes, such as `"cuda:0"`.

    Returns:
        The settings for bitsandbytes, with the modules to leave out.
    """
    assert spec.quantization is not None
    from transformers import BitsAndBytesConfig

    exact = _exact_modules(spec, config, model_class, device=device)
    if spec.quantization == "8bit":
        settings: dict[str, Any] = {"load_in_8bit": True, "llm_int8_skip_modules": exact}
    elif spec.quantization == "4bit":
        # NF4 with double quantization: Dettmers et al. 2023, https://arxiv.org/abs/2305.14314
        settings = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": dtype,
            "llm_int8_skip_modules": exact,
        }
    else:
        settings = json.loads(spec.quantization)
    return BitsAndBytesConfig(**settings)


def repacks_weights() -> bool:
    """Tell whether bitsandbytes repacks 4-bit weights for this CPU.

    Returns:
        Whether it has the instructions for it.
    """
    from bitsandbytes import functional

    return bool(functional.has_avx512bf16())  # type: ignore[no-untyped-call]


def _exact_modules(
    spec: LoadSpec, config: PreTrainedConfig, model_class: Any, *, device: str
) -> list[str] | None:
    """Name the modules to leave out of the quantization; None leaves it to transformers.

    A head is small and decides everything. Some CPUs repack 4-bit weights in whole blocks, and
    fail at run time on a layer whose width is not made of them.

    Returns:
        Names, or patterns of names, of modules.
    """
    import torch
    from transformers.quantizers.base import get_keys_to_not_convert

    exact = list(_HEADS) if spec.task in ("classifier", "cross-encoder") else []
    if spec.quantization == "4bit" and device == "cpu" and repacks_weights():
        with torch.device("meta"):
            model = model_class.from_config(config)
        odd = [
            name
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear)
            and (layer.in_features % _BLOCK_COLUMNS or layer.out_features % _BLOCK_ROWS)
        ]
        # A list replaces the choice of transformers, so it must hold that as well.
        exact += [*odd, *get_keys_to_not_convert(model)] if odd else []
    return exact or None


def import_bitsandbytes() -> None:
    """Import bitsandbytes without two of its notes, which say nothing that a user can act on.

    One tells that an optional kernel of the hub is missing, the other, at every layer of every
    batch, that 8-bit products are computed in float16, as they always are.
    """
    for name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
        log = logging.getLogger(name)
        if _is_worth_reading not in log.filters:
            log.addFilter(_is_worth_reading)
    importlib.import_module("bitsandbytes")


def _is_worth_reading(record: logging.LogRecord) -> bool:
    message = str(record.msg)
    return "kernels-community" not in message and "inputs will be cast from" not in message
