"""Threads that OpenMP keeps for the threads of this process."""

from __future__ import annotations

import ctypes
import functools
from typing import Any

__all__ = ["release_threads"]

_PAUSE_SOFT = 1  # omp_pause_soft of OpenMP 5.0


def release_threads() -> None:
    """End the threads that GNU OpenMP keeps for the calling thread.

    Each thread that has computed on several cores keeps helpers for the next time. As soon as all
    helpers in the process are more than the cores, all of them fall asleep at the end of each
    operation instead of waiting a moment for the next, even if the others have nothing to do:
    beside an idle model a query took 1.7 to 2.3 times as long (two Zen 4 cores, torch 2.13).
    Helpers come back with the next operation, which costs a query up to 12 ms. Other runtimes of
    OpenMP are left as they are.
    """
    library = _gnu_openmp()
    if library is not None:
        library.omp_pause_resource_all(_PAUSE_SOFT)


@functools.cache
def _gnu_openmp() -> Any:
    """The OpenMP of this process where it is GNU's, else None."""
    import torch  # noqa: F401 - brings it

    try:
        library = ctypes.CDLL(None)
    except (OSError, TypeError):
        return None
    named = [hasattr(library, name) for name in ("GOMP_parallel", "omp_pause_resource_all")]
    return library if all(named) and not hasattr(library, "__kmpc_fork_call") else None
