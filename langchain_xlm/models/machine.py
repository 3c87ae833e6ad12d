"""The devices of this machine and their memory."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

__all__ = ["Device", "find_devices", "stated_devices"]

# What a container may use, by version of the Linux control groups.
_GROUP_FILES = (
    (Path("/sys/fs/cgroup/memory.max"), Path("/sys/fs/cgroup/memory.current")),
    (
        Path("/sys/fs/cgroup/memory/memory.limit_in_bytes"),
        Path("/sys/fs/cgroup/memory/memory.usage_in_bytes"),
    ),
)


@dataclass(frozen=True, slots=True)
class Device:
    """A place for a model.

    Attributes:
        name: As `device` takes it: `"cpu"`, `"cuda:0"`, `"mps"`, `"xpu:0"`.
        description: What it is, for a person.
        total_bytes: Its memory.
        free_bytes: How much of it is free now.
        is_here: False for one that was only stated.
    """

    name: str
    description: str
    total_bytes: int
    free_bytes: int
    is_here: bool = True

    @property
    def kind(self) -> str:
        """The name without its number."""
        return self.name.partition(":")[0]


def find_devices() -> tuple[Device, ...]:
    """Find the devices that torch can use here, the processor last.

    Returns:
        The devices, the one that models go to unless told otherwise first.
    """
    import torch

    found = []
    if torch.cuda.is_available():
        for index in range(torch.cuda.device_count()):
            free, total = torch.cuda.mem_get_info(index)
            found.append(Device(f"cuda:{index}", torch.cuda.get_device_name(index), total, free))
    if hasattr(torch, "xpu") and torch.xpu.is_available():
        for index in range(torch.xpu.device_count()):
            free, total = torch.xpu.mem_get_info(index)
            found.append(Device(f"xpu:{index}", torch.xpu.get_device_name(index), total, free))
    if torch.backends.mps.is_available():
        total = int(torch.mps.recommended_max_memory())
        free = total - int(torch.mps.driver_allocated_memory())
        found.append(Device("mps", "Apple GPU", total, free))
    return (*found, _processor())


def stated_devices(sizes: tuple[int, ...]) -> tuple[Device, ...]:
    """Stand in for GPUs that are not here, beside the processor that is.

    Args:
        sizes: Bytes of memory of each.

    Returns:
        CUDA devices of these sizes, all of it free, and the processor.
    """
    gpus = [
        Device(f"cuda:{index}", f"a GPU of {size / 2**30:g} GiB", size, size, is_here=False)
        for index, size in enumerate(sizes)
    ]
    return (*gpus, _processor())


def _processor() -> Device:
    import platform

    import psutil

    memory = psutil.virtual_memory()
    total, free = int(memory.total), int(memory.available)
    for limit_file, used_file in _GROUP_FILES:
        limit, used = _number(limit_file), _number(used_file)
        if limit is not None and used is not None and limit < total:
            total, free = limit, min(free, max(limit - used, 0))
    return Device("cpu", platform.machine(), total, free)


def _number(path: Path) -> int | None:
    try:
        return int(path.read_text())
    except (OSError, ValueError):  # not Linux, or no limit ("max")
        return None
