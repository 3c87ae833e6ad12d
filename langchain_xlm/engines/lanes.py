"""Which threads compute on a CPU: parts of a batch side by side, and what stays whole on all cores.

Sharing every operation between two cores leaves each of them waiting for the other hundreds of
times in a batch, and what Python does between operations is done once. With half of the texts on
each core the same batch takes less time: see docs/speed.md for how much.

What cannot be divided, one text above all, shares its operations. All models do that on one thread
of the process: as soon as OpenMP's helpers of several threads are more than the cores, they fall
asleep at the end of each operation (see `models.threads`).
"""

from __future__ import annotations

import functools
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from typing import TypeVar

import torch

from langchain_xlm.models.memory import release_memory
from langchain_xlm.models.processor import is_arm
from langchain_xlm.models.threads import release_threads

__all__ = [
    "Lanes",
    "compute_on_one_core",
    "divide",
    "give_way",
    "lanes_here",
    "on_all_cores",
    "take_over",
]

P = TypeVar("P")
R = TypeVar("R")

# Each lane has a batch of its own in memory, and Python, which one thread runs at a time, has to
# keep all of them busy: beyond this many, lanes have several cores each.
_MOST = 8
# A lane with 15% more than the average wastes what lanes gain for the least: bfloat16 took 13%
# less time than with shared operations (two Zen 4 cores, torch 2.13, texts of mixed lengths).
_UNEVEN = 1.15

# Setting the threads of one thread also sets what threads born meanwhile begin with.
_setting_threads = threading.Lock()


def lanes_here() -> int:
    """Tell how many parts of a batch should run side by side on the CPU.

    Returns:
        The number of threads that torch may use, 8 at the most; 1 on Arm, where it has not been
        measured.
    """
    return 1 if is_arm() else min(torch.get_num_threads(), _MOST)


class Lanes:
    """Threads that compute side by side; the threads that torch may use are shared out among them.

    Attributes:
        count: How many there are.
    """

    def __init__(self, count: int) -> None:
        """Start the threads.

        Args:
            count: How many, at least 2.
        """
        self.count = count
        self._executors = [
            ThreadPoolExecutor(1, thread_name_prefix=f"langchain-xlm lane {number}")
            for number in range(count)
        ]
        self.run(_compute_with, [max(1, torch.get_num_threads() // count)] * count)

    def run(self, work: Callable[[P], R], parts: Sequence[P]) -> list[R]:
        """Do the same work with several parts at the same time.

        Args:
            work: Called with each part, on a thread of its own.
            parts: One for each lane, or fewer.

        Returns:
            The results, in the order of the parts.

        Raises:
            Exception: What the first part that failed raised, after all have ended.
        """
        futures = [
            executor.submit(work, part)
            for executor, part in zip(self._executors, parts, strict=False)
        ]
        wait(futures)
        return [future.result() for future in futures]

    def close(self) -> None:
        """End the threads, and give back what their heaps kept."""
        try:
            trimmed = [executor.submit(release_memory) for executor in self._executors]
        except RuntimeError:  # Python is ending: it takes no new work, and all memory goes back
            return
        for each in trimmed:
            each.result()
        for executor in self._executors:
            executor.shutdown()


def _compute_with(threads: int) -> None:
    """Have the calling thread share its operations between so many threads, and no other."""
    with _setting_threads:
        torch.get_num_threads()  # a thread takes over the common number when it first asks
        common = _in_new_thread(torch.get_num_threads)
        torch.set_num_threads(threads)
        _in_new_thread(lambda: torch.set_num_threads(common))


def _in_new_thread(work: Callable[[], R]) -> R:
    with ThreadPoolExecutor(1) as executor:
        return executor.submit(work).result()


def on_all_cores(work: Callable[[], R]) -> R:
    """Do something on the thread of this process that shares its operations among all cores.

    Args:
        work: What to do; it must not wait for this thread itself.

    Returns:
        What it gave.

    Raises:
        Exception: What it raised.
    """
    return _common_thread().submit(work).result()


def compute_on_one_core() -> None:
    """Have the calling thread compute on one core from now on, and let its helpers go.

    For the thread that owns a model: what is worth sharing runs elsewhere.
    """
    if torch.get_num_threads() == 1:
        return
    release_threads()
    _compute_with(1)


def give_way() -> None:
    """Let the helpers of the calling thread go, if models of this process share others.

    For a thread that computes on all cores itself, when it has nothing to do. In a process with
    one model alone nobody gains from it.
    """
    if _common_thread.cache_info().currsize:
        release_threads()


def take_over() -> None:
    """Let the helpers of the common thread go: the calling thread will need all cores for long."""
    if _common_thread.cache_info().currsize:
        on_all_cores(release_threads)


@functools.cache
def _common_thread() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(1, thread_name_prefix="langchain-xlm all cores")


def divide(costs: Sequence[int], lanes: int) -> tuple[list[list[int]], list[int]]:
    """Share rows out among lanes, so that each has about as much to do.

    The longest row goes first, each to the lane with the least. If that comes out uneven, the
    longest rows are left over: as few as do, and fewer than there are lanes.

    Args:
        costs: What each row takes, in any unit.
        lanes: How many lanes there are.

    Returns:
        Places of the rows of each lane, and of those left over; no lane has any where nothing
        comes out even.
    """
    order = sorted(range(len(costs)), key=lambda place: -costs[place])
    for left in range(lanes):
        parts: list[list[int]] = [[] for _ in range(lanes)]
        loads = [0] * lanes
        for place in order[left:]:
            lane = loads.index(min(loads))
            parts[lane].append(place)
            loads[lane] += costs[place]
        if min(loads) and max(loads) * lanes <= _UNEVEN * sum(loads):
            return parts, order[:left]
    return [], order
