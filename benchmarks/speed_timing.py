"""Taking times, and saying how far a benchmark is."""

from __future__ import annotations

import statistics
import sys
import time
from collections.abc import Callable
from typing import Any, TypeVar

T = TypeVar("T")
Result = dict[str, Any]


def note(text: str) -> None:
    sys.stderr.write(f"{time.strftime('%H:%M:%S')} {text}\n")


def timed(work: Callable[[], object]) -> float:
    before = time.perf_counter()
    work()
    return time.perf_counter() - before


def both_times(work: Callable[[], T]) -> tuple[tuple[float, float], T]:
    """Time some work by the clock and by what processors spent on it.

    The second hardly changes when other programs run beside.

    Returns:
        The two times in seconds, and what the work gave.
    """
    clock, processor = time.perf_counter(), time.process_time()
    result = work()
    return (time.perf_counter() - clock, time.process_time() - processor), result


def spread(taken: list[float]) -> Result:
    return {"median_s": statistics.median(taken), "low_s": min(taken), "high_s": max(taken),
            "rounds": len(taken)}  # fmt: skip
