"""Memory of this process: giving back what is free, and telling what an error says was short."""

from __future__ import annotations

import ctypes
import functools
import gc
import os
import re
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

__all__ = [
    "Shortage",
    "free_bytes",
    "freed_at_once",
    "keep_few_kernels",
    "release_memory",
    "shortage_of",
]

# Parameters of mallopt(3), and the bounds between which glibc moves its own thresholds.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_SMALLEST, _LARGEST = 64 * 2**10, 32 * 2**20

# How many kernels oneDNN keeps in a process, and how many of them torch's layer above it (ideep)
# keeps once more for each thread. Of both it would be 1,024. A short query needs 5 that no query of
# another length can use. Torch crashes without any of its own.
# The names of each variable, the one to set first.
_KERNELS = {
    ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"): "128",
    ("LRU_CACHE_CAPACITY",): "2",
}

# The last two are oneDNN's. It says the same of a product that it does not know, but "primitive
# descriptor" then, and that product would have failed in every batch.
_SHORT = re.compile(
    r"out of memory|can't allocate memory|not enough memory|CUBLAS_STATUS_ALLOC_FAILED"
    r"|could not create a primitive(?! descriptor)|could not create a memory",
    re.I,
)
_NEEDED = re.compile(r"[Tt]ri(?:ed|ing) to allocate ([\d.]+) *(bytes|[KMGT]i?B)", re.I)
_UNITS = {"B": 0, "K": 10, "M": 20, "G": 30, "T": 40}


@dataclass(frozen=True, slots=True)
class Shortage:
    """What an allocation that failed says about memory.

    Attributes:
        device: Where it failed: `"cpu"`, `"cuda"`, `"mps"`, `"xpu"`.
        needed_bytes: How much it asked for; None where the error does not tell.
        free_bytes: How much was free on the device afterwards; None where nobody tells.
    """

    device: str
    needed_bytes: int | None
    free_bytes: int | None


def shortage_of(error: BaseException) -> Shortage | None:
    """Tell whether an error, or the one that it was raised from, means that memory was short.

    Args:
        error: What a computation or a load raised.

    Returns:
        What it says, or None where it is about something else. The answer holds no reference
        to the error, whose traceback keeps the tensors of the failed computation alive.
    """
    import torch

    cause: BaseException | None = error
    while cause is not None:
        text = str(cause)
        known = isinstance(cause, (MemoryError, torch.OutOfMemoryError))
        if known or (isinstance(cause, RuntimeError) and _SHORT.search(text)):
            device = _device_in(text)
            if isinstance(cause, torch.OutOfMemoryError) and device == "cpu":
                device = "cuda"  # some versions name no device
            return Shortage(device, _needed_in(text), free_bytes(device))
        cause = cause.__cause__
    return None


def _device_in(text: str) -> str:
    for mark, device in (("CUDA", "cuda"), ("GPU", "cuda"), ("CUBLAS", "cuda"), ("MPS", "mps")):
        if mark in text:
            return device
    return "xpu" if "XPU" in text else "cpu"


def _needed_in(text: str) -> int | None:
    found = _NEEDED.search(text)
    if found is None:
        return None
    unit = "B" if found[2] == "bytes" else found[2][0].upper()
    return int(float(found[1]) * 2 ** _UNITS[unit])


def free_bytes(device: str) -> int | None:
    """Tell how much memory of a device is free.

    Args:
        device: Name of a device, such as `"cpu"` or `"cuda:1"`.

    Returns:
        Bytes; None where the backend does not tell.
    """
    import torch

    if device == "cpu":
        import psutil

        return int(psutil.virtual_memory().available)
    if device.startswith("cuda") and torch.cuda.is_available():
        return int(torch.cuda.mem_get_info(device)[0])
    if device == "mps" and torch.backends.mps.is_available():
        return int(torch.mps.recommended_max_memory() - torch.mps.driver_allocated_memory())
    return None


def keep_few_kernels() -> None:
    """Have oneDNN forget what it made for numbers of tokens that it has not met for long.

    For each number of tokens it makes kernels of its own, 0.2 to 0.8 MB each, and keeps 1,024 of
    them. Texts of mixed lengths hardly ever repeat a number: after 1,024 texts a process had grown
    by 920 to 970 MiB, and by 250 where 128 are kept, in the same time (the shape of XLM-R-base in
    bfloat16, two Zen 4 cores, torch 2.13).

    Both libraries read the environment when they are first used: the numbers are put there where
    nobody has set others. A process that has used oneDNN before keeps what it began with.

    Source:
        The variables: https://uxlfoundation.github.io/oneDNN/dev_guide_primitive_cache.html and
        https://github.com/intel/ideep/issues/14; what becomes of it without:
        https://github.com/pytorch/pytorch/issues/27971
    """
    for names, number in _KERNELS.items():
        if not any(name in os.environ for name in names):
            os.environ[names[0]] = number


def release_memory() -> None:
    """Give what is free back to the system: cycles, the caches of devices, the C heap."""
    import torch

    gc.collect()
    if torch.cuda.is_available() and torch.cuda.is_initialized():  # type: ignore[no-untyped-call]
        torch.cuda.empty_cache()
    if torch.backends.mps.is_available():
        torch.mps.empty_cache()
    if torch.xpu.is_available():
        torch.xpu.empty_cache()
    libc = _glibc()
    if libc is not None:
        # malloc_trim leaves the end of the heap of any thread but the main one as it is. That
        # end is cut when a large piece is freed while the threshold is low.
        libc.mallopt(_M_TRIM_THRESHOLD, 0)
        _free_a_piece(libc)
        libc.malloc_trim(0)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST)


@contextmanager
def freed_at_once() -> Iterator[None]:
    """Take what is allocated inside a `with` block from the system, piece by piece.

    glibc keeps pieces below a threshold in heaps of its own, from which hardly anything returns
    to the system, and raises the threshold by itself to 32 MiB: an unloaded model in 16 bits
    would leave a quarter of its weights behind. Pieces that are mapped go back when they are
    freed. Mapping is too slow for what a running model allocates, so outside of the block the
    threshold is the highest again.

    Yields:
        Nothing. Without glibc nothing is done.
    """
    libc = _glibc()
    if libc is None:
        yield
        return
    libc.mallopt(_M_MMAP_THRESHOLD, _SMALLEST)
    try:
        yield
    finally:
        libc.mallopt(_M_MMAP_THRESHOLD, _LARGEST)
        libc.mallopt(_M_TRIM_THRESHOLD, 2 * _LARGEST)


@functools.cache
def _glibc() -> Any:
    """The C library of this process where it is glibc, else None."""
    try:
        libc = ctypes.CDLL(None)
        libc.gnu_get_libc_version, libc.mallopt, libc.malloc_trim  # noqa: B018
    except (AttributeError, OSError, TypeError):
        return None
    libc.malloc.restype = ctypes.c_void_p
    libc.free.argtypes = [ctypes.c_void_p]
    return libc


def _free_a_piece(libc: Any) -> None:
    # Above what is kept for the thread, below what is mapped.
    libc.free(libc.malloc(ctypes.c_size_t(256 * 2**10)))
