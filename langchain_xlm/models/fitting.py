"""Whether a model fits devices, and how it would be spread over them."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from langchain_xlm.models.families import Family
from langchain_xlm.models.machine import Device
from langchain_xlm.models.skeleton import Skeleton

__all__ = ["Fit", "Placement", "find_placement", "fit"]

# As transformers has it for device_map="auto": the rest is for the driver and the allocator.
USABLE = 0.9


@dataclass(frozen=True, slots=True)
class Fit:
    """Whether a model fits one device whole.

    Attributes:
        device: The device's name.
        free_bytes: What is free on it.
        fits: Whether the model takes at most nine tenths of that.
    """

    device: str
    free_bytes: int
    fits: bool


@dataclass(frozen=True, slots=True)
class Placement:
    """Where a model would go.

    Attributes:
        device_map: Each module with its place, as `device_map="auto"` would have it (for one
            device `""` with its name); None where the model cannot be placed.
        summary: The same in a few words.
    """

    device_map: dict[str, str | int] | None
    summary: str


def fit(needed_bytes: int, device: Device) -> Fit:
    """Compare what a model needs with what a device has.

    Args:
        needed_bytes: At its highest point.
        device: The device.

    Returns:
        The comparison.
    """
    return Fit(device.name, device.free_bytes, needed_bytes <= USABLE * device.free_bytes)


def find_placement(
    skeleton: Skeleton, family: Family, devices: Sequence[Device], needed_bytes: int
) -> Placement:
    """Find where a model would go: whole on the first device, else spread over all.

    Args:
        skeleton: The model without its numbers.
        family: Its row of the family table.
        devices: Where it may go, in order; the processor last.
        needed_bytes: What it needs at its highest point.

    Returns:
        The placement.
    """
    first = devices[0]
    if fit(needed_bytes, first).fits:
        return Placement({"": first.name}, f"whole on {first.name}")
    if family.keep_whole:
        other = next((each for each in devices[1:] if fit(needed_bytes, each).fits), None)
        if other is not None:
            return Placement({"": other.name}, f"cannot be split; whole with device={other.name!r}")
        return Placement(None, "fits nowhere, and cannot be split")
    places = _spread(skeleton, devices)
    away = {place for place in places.values() if place in ("cpu", "disk")} - (
        {"cpu"} if first.name == "cpu" else set()
    )
    if skeleton.quantizer is not None and away:
        return Placement(
            None, f"does not fit; what is quantized cannot go to the {' or '.join(sorted(away))}"
        )
    return Placement(places, _summary(skeleton, places))


def _spread(skeleton: Skeleton, devices: Sequence[Device]) -> dict[str, str | int]:
    """Ask transformers, which asks the same when it loads with `device_map="auto"`."""
    from transformers.integrations.accelerate import get_balanced_memory, infer_auto_device_map

    rooms: dict[Any, Any] = {_place(device): int(USABLE * device.free_bytes) for device in devices}
    model: Any = skeleton.model
    with _without_warnings():
        rooms = get_balanced_memory(
            model,
            max_memory=rooms,
            no_split_module_classes=model._no_split_modules,
            hf_quantizer=skeleton.quantizer,
        )
        if skeleton.quantizer is not None:
            rooms = dict[Any, Any](skeleton.quantizer.adjust_max_memory(rooms))
        places = infer_auto_device_map(
            model,
            max_memory=rooms,
            no_split_module_classes=model._no_split_modules,
            hf_quantizer=skeleton.quantizer,
        )
    return dict(places)


def _place(device: Device) -> str | int:
    number = device.name.partition(":")[2]
    return int(number) if number else device.name


def _summary(skeleton: Skeleton, places: dict[str, str | int]) -> str:
    """Say how many parts of the lowest level with weights go where."""
    counts: dict[str | int, int] = {}
    for name, module in skeleton.model.named_modules():
        if not list(module.parameters(recurse=False)):
            continue
        at = next(
            place
            for prefix, place in sorted(places.items(), key=lambda item: -len(item[0]))
            if not prefix
            or name == prefix
            or name.startswith(f"{prefix}.")
            or prefix.startswith(name)
        )
        counts[at] = counts.get(at, 0) + sum(
            each.nbytes for each in module.parameters(recurse=False)
        )
    whole = sum(counts.values())
    return ", ".join(
        f"{100 * size / whole:.0f}% on {f'cuda:{at}' if isinstance(at, int) else at}"
        for at, size in counts.items()
    )


@contextmanager
def _without_warnings() -> Iterator[None]:
    """Keep accelerate from telling that stated devices are not here."""
    log = logging.getLogger("accelerate.utils.modeling")
    before = log.disabled
    log.disabled = True
    try:
        yield
    finally:
        log.disabled = before
