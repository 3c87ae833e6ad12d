"""Where the model goes and in which numbers: from a spec to `from_pretrained` arguments."""

from __future__ import annotations

import importlib
import importlib.util
import json
import logging
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import (
    ConfigurationError,
    InsufficientMemoryError,
    MissingDependencyError,
)
from langchain_xlm.models import files
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.families import Family, families_of
from langchain_xlm.models.processor import computes_bfloat16, computes_int8

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

    from langchain_xlm.models.int8 import RowwiseInt8Config


__all__ = [
    "ROWWISE_INT8",
    "ROWWISE_METHOD",
    "check_devices",
    "check_offload",
    "check_packages",
    "complete_places",
    "computing_device",
    "default_dtype",
    "from_pretrained_arguments",
    "import_bitsandbytes",
    "input_device",
    "is_for_cpu",
    "quantization_settings",
    "quantizer_of",
    "repacks_weights",
    "uses_rowwise_int8",
]

# Where the name to import is not the name to install; its parent is there in any case or not.
_IMPORT_NAMES = {"protobuf": "google"}
# The modules of classification heads: of the XLM-R kinds, and of XLM.
_HEADS = ("classifier", "sequence_summary.summary")

ROWWISE_INT8 = "row-wise int8"
"""What `quantizer_of` names where the package's own integer layers are used."""
ROWWISE_METHOD = "langchain_xlm_int8"
"""What transformers knows them by."""

# Weights in linear layers from which "auto" takes bfloat16 on a CPU. Below, float32 takes under
# 0.2 ms a token on one core, and keeps every digit.
_BFLOAT16_FROM = 16_000_000

# What bitsandbytes repacks 4-bit weights in, on CPUs with AVX512-BF16.
_BLOCK_COLUMNS, _BLOCK_ROWS = 64, 32


def check_devices(spec: LoadSpec) -> None:
    """Refuse a device that this machine lacks, before any file is looked for.

    Args:
        spec: What to load.

    Raises:
        ConfigurationError: With the devices that there are.
    """
    import torch

    for place in dict.fromkeys((spec.device, *spec.places.values())):
        if place is not None and place != "disk":
            _check_device(f"cuda:{place}" if isinstance(place, int) else place)
    count = max(torch.cuda.device_count(), torch.xpu.device_count())
    for device, _ in spec.max_memory if isinstance(spec.max_memory, tuple) else ():
        if isinstance(device, int) and device >= count:
            raise ConfigurationError(
                f"max_memory has a limit for GPU {device}, but this machine has"
                f" {f'{count}, counted from 0' if count else 'none'}. Leave that limit out, or"
                " give one for 'cpu'."
            )


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
        ConfigurationError: The family cannot be split as asked, or lacks what was asked for.
    """
    places = _places(spec, family, config, model_class)
    main = computing_device(places)
    dtype = default_dtype(spec, family, config, model_class, device=main)
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


def uses_rowwise_int8(spec: LoadSpec, device: str) -> bool:
    """Tell whether `"8bit"` means the package's own integer layers rather than bitsandbytes'.

    Args:
        spec: What to load.
        device: The device that does the computing.

    Returns:
        True for models that read texts, whole on a CPU that multiplies 8-bit integers. Models
        that write texts stay with bitsandbytes, as does everything given a `BitsAndBytesConfig`.
    """
    return (
        spec.quantization == "8bit"
        and device == "cpu"
        and spec.task != "seq2seq"
        and not isinstance(spec.device_map, str)
        and "disk" not in spec.places.values()
        and computes_int8()
    )


def quantizer_of(model: PreTrainedModel) -> str | None:
    """Name what quantized a loaded model.

    Args:
        model: A loaded model.

    Returns:
        `"row-wise int8"`, `"bitsandbytes"` or another library's name; None for a plain model.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return None
    method = quantizer.quantization_config.quant_method
    name = str(getattr(method, "value", method))
    return ROWWISE_INT8 if name == ROWWISE_METHOD else name


def complete_places(
    spec: LoadSpec, model: PreTrainedModel, places: dict[str, str | int]
) -> dict[str, str | int]:
    """Check a device map against the modules of the model, before any weights are read.

    Args:
        spec: What to load.
        model: The model without weights (on torch's meta device).
        places: The device map, module by module.

    Returns:
        The map, with a place for weights that belong to the model itself and to no module.

    Raises:
        ConfigurationError: The map contradicts itself or parts weights that are shared.
    """
    for name in places:
        inside = next((n for n in places if n != name and f"{n}.".startswith(f"{name}.")), None)
        inside = next((n for n in places if n), None) if name == "" else inside
        if inside is not None:
            raise ConfigurationError(
                f"device_map places {name!r} and {inside!r}, which is a part of it."
                f" Name the other parts of {name!r} in place of the whole."
            )
    _check_shared(spec, model, places)
    if "" in places:
        return places
    own = [name for name, _ in model.named_parameters() if "." not in name]
    own += [name for name, _ in model.named_buffers() if "." not in name]
    running = next((place for place in places.values() if place not in ("cpu", "disk")), "cpu")
    return {**places, **{name: running for name in own if name not in places}}


def check_offload(spec: LoadSpec, model: PreTrainedModel) -> None:
    """Refuse a model some of whose shared weights are on the disk: it would fail when it runs.

    Args:
        spec: What was loaded.
        model: The model, placed.

    Raises:
        ConfigurationError: With the module to place elsewhere.
    """
    _check_shared(spec, model, getattr(model, "hf_device_map", None) or {})


def _check_shared(spec: LoadSpec, model: PreTrainedModel, places: Mapping[str, str | int]) -> None:
    """Weights that two modules share are saved once, so both must be on the disk or neither."""
    if "disk" not in places.values():
        return
    for name, source in sorted(model.all_tied_weights_keys.items()):
        if (_place_of(name, places) == "disk") != (_place_of(source, places) == "disk"):
            away = name if _place_of(name, places) == "disk" else source
            raise ConfigurationError(
                f"{spec.model!r} shares the weights {name} with {source}, of which the device map"
                f" sends one to the disk, where they cannot be shared."
                f" Give {away.rpartition('.')[0]!r} a place of its own, such as 'cpu', or"
                " max_memory more room."
            )


def _place_of(weight: str, places: Mapping[str, str | int]) -> str | int | None:
    owners = [part for part in places if not part or f"{weight}.".startswith(f"{part}.")]
    return places[max(owners, key=len)] if owners else None


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


def is_for_cpu(spec: LoadSpec) -> bool:
    """Tell whether a model without a device map would be placed on the CPU.

    Args:
        spec: What to load.

    Returns:
        Whether the CPU was asked for, or is the best device here.
    """
    return (spec.device or _best_device()) == "cpu"


def _places(
    spec: LoadSpec, family: Family, config: PreTrainedConfig, model_class: type
) -> str | dict[str, str | int]:
    """The device map: a strategy, a map, or the whole model on one device."""
    if spec.places:
        if family.keep_whole and len(set(spec.places.values())) > 1:
            raise ConfigurationError(
                f"Models of the family {family.name} cannot be split over devices."
                " Give device='cuda:0' or another one for the whole model."
            )
        return spec.places
    if isinstance(spec.device_map, str) and not family.keep_whole:
        return spec.device_map
    if spec.device is not None:
        return {"": spec.device}
    if spec.device_map is not None:
        return {"": _roomy_device(spec, family, config, model_class)}
    return {"": _best_device()}


def _best_device() -> str:
    import torch

    if torch.cuda.is_available():
        return "cuda:0"
    return _other_accelerator() or "cpu"


def _roomy_device(
    spec: LoadSpec, family: Family, config: PreTrainedConfig, model_class: Any
) -> str:
    """The first device, GPUs before the CPU, that has room for all of a model kept whole."""
    import torch

    from langchain_xlm.models.memory import free_bytes
    from langchain_xlm.models.skeleton import build_skeleton

    limits = dict(spec.max_memory) if isinstance(spec.max_memory, tuple) else {}
    gpus = torch.cuda.device_count() if torch.cuda.is_available() else 0
    found: list[tuple[int, int, str]] = []
    for device in (*(f"cuda:{index}" for index in range(gpus)), _other_accelerator(), "cpu"):
        if device is None:
            continue
        key = int(device[5:]) if device.startswith("cuda:") else device
        dtype = default_dtype(spec, family, config, model_class, device=device)
        skeleton = build_skeleton(spec, family, config, dtype=dtype, device=device)
        needed = skeleton.weight_bytes().total
        free = limits.get(key, free_bytes(device))
        if free is None or needed <= free:
            return device
        found.append((free, needed, device))
    free, needed, device = max(found)
    raise InsufficientMemoryError(
        spec.model,
        needed_bytes=needed,
        free_bytes=free,
        device=device,
        advice=f"Models of the family {family.name} cannot be split over devices: give max_memory"
        " more room on one, or quantization='8bit' or '4bit'.",
    )


def _other_accelerator() -> str | None:
    import torch

    if torch.xpu.is_available():
        return "xpu"
    return "mps" if torch.backends.mps.is_available() else None


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


def computing_device(places: str | Mapping[str, str | int]) -> str:
    """Tell which device does the computing.

    Args:
        places: A device map.

    Returns:
        The first device of the map that is not the CPU or the disk, else the CPU.
    """
    import torch

    if isinstance(places, str):
        return "cuda" if torch.cuda.is_available() else "cpu"
    running = [f"cuda:{place}" if isinstance(place, int) else place for place in places.values()]
    return next((place for place in running if place not in ("cpu", "disk")), "cpu")


def default_dtype(
    spec: LoadSpec,
    family: Family,
    config: PreTrainedConfig,
    model_class: Any,
    *,
    device: str,
) -> torch.dtype:
    """Tell in which dtype a model is loaded, but for what is quantized.

    Args:
        spec: What to load.
        family: The row of the family table.
        config: The checkpoint's own configuration.
        model_class: The auto class that will load it.
        device: The device that computes, such as `"cuda:0"`.

    Returns:
        The dtype that is asked for, or for `"auto"` the one that suits the device: 16 bits where
        it computes in them, if that pays, else 32.
    """
    import torch

    if spec.dtype != "auto":
        chosen = getattr(torch, spec.dtype)
        assert isinstance(chosen, torch.dtype)
        return chosen
    if uses_rowwise_int8(spec, device):
        return torch.float32  # little is left in it, and quicker so
    if device == "cpu" and computes_bfloat16():
        large = _linear_weights(config, model_class) >= _BFLOAT16_FROM
        return torch.bfloat16 if large else torch.float32
    if not device.startswith("cuda"):
        return torch.float32
    if torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32 if family.overflows_in_float16 else torch.float16


def _linear_weights(config: PreTrainedConfig, model_class: Any) -> int:
    """Count the weights that every token is multiplied with, those of a vocabulary left out."""
    import torch

    with torch.device("meta"):
        model = model_class.from_config(config)
    vocabulary = model.get_output_embeddings()
    return sum(
        layer.weight.numel()
        for layer in model.modules()
        if isinstance(layer, torch.nn.Linear) and layer is not vocabulary
    )


def _rowwise_int8(exact: list[str] | None) -> RowwiseInt8Config:
    from langchain_xlm.models.int8 import RowwiseInt8Config, register

    register()
    return RowwiseInt8Config(exact)


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


def quantization_settings(
    spec: LoadSpec,
    config: PreTrainedConfig,
    model_class: Any,
    *,
    dtype: torch.dtype,
    device: str,
) -> BitsAndBytesConfig | RowwiseInt8Config:
    """Spell out what the quantization of a spec means for one checkpoint.

    Args:
        spec: What to load, quantized.
        config: The checkpoint's own configuration.
        model_class: The auto class that will load it.
        dtype: In which 4-bit layers compute.
        device: The device that computes, such as `"cuda:0"`.

    Returns:
        The settings of bitsandbytes, or of our own integer layers, with the modules to leave out.
    """
    assert spec.quantization is not None
    from transformers import BitsAndBytesConfig

    exact = _exact_modules(spec, config, model_class, device=device)
    if uses_rowwise_int8(spec, device):
        return _rowwise_int8(exact)
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
