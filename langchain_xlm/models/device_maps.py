"""On which device each part of a model goes, and whether that can be."""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import ConfigurationError, InsufficientMemoryError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.dtypes import default_dtype
from langchain_xlm.models.families import Family

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig, PreTrainedModel

__all__ = [
    "check_devices",
    "check_offload",
    "complete_places",
    "computing_device",
    "input_device",
    "is_for_cpu",
    "is_whole_on_cpu",
    "places_of",
]


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


def places_of(
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


def is_whole_on_cpu(model: PreTrainedModel) -> bool:
    """Tell whether all weights of a loaded model lie in memory, none of them fetched when it runs.

    Args:
        model: A loaded model.

    Returns:
        Whether they do.
    """
    # accelerate's hooks bring weights from elsewhere when a module runs.
    return all(each.device.type == "cpu" for each in model.parameters()) and not any(
        hasattr(module, "_hf_hook") for module in model.modules()
    )


def is_for_cpu(spec: LoadSpec) -> bool:
    """Tell whether a model without a device map would be placed on the CPU.

    Args:
        spec: What to load.

    Returns:
        Whether the CPU was asked for, or is the best device here.
    """
    return (spec.device or _best_device()) == "cpu"


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
