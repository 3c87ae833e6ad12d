"""Systems in processes of their own, so that none slows another by what it leaves running.

Threads of one library go on spinning for a while after its work, and the runtime of OpenMP puts
threads to sleep at once where a process has more of them than there are cores. In one process the
systems would therefore share more than the texts.
"""

from __future__ import annotations

import argparse
import multiprocessing
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ProcessPoolExecutor
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TypeVar

from benchmarks.speed_peers import OURS, SYSTEMS, Opened
from benchmarks.speed_timing import Result, note

T = TypeVar("T")
PAUSE_S = 0.3
"""Rest before a turn; OpenMP of Intel, which CTranslate2 has, spins for 0.2 s."""

_held: Opened


class Worker:
    """One system in a process of its own."""

    def __init__(self, name: str, folder: Path, work: Path) -> None:
        """Start a process and load a system there.

        Args:
            name: Key of `SYSTEMS`.
            folder: Checkpoint.
            work: Where copies for other runtimes go.

        Raises:
            Exception: What loading raised there.
        """
        self._process = ProcessPoolExecutor(1, multiprocessing.get_context("spawn"))
        try:
            self._process.submit(_open, name, folder, work).result()
        except BaseException:
            self.close()
            raise

    def run(self, work: Callable[[Opened], T]) -> T:
        """Have the process do something with its system, after a rest.

        Args:
            work: Called there with the opened system; must be picklable.

        Returns:
            What it gave.
        """
        time.sleep(PAUSE_S)
        return self._process.submit(_run, work).result()

    def close(self) -> None:
        """End the process."""
        self._process.shutdown()


@contextmanager
def workers(
    names: list[str], given: argparse.Namespace
) -> Iterator[tuple[dict[str, Worker], Result]]:
    """Open systems, and close them at the end.

    Args:
        names: Keys of `SYSTEMS`.
        given: The command line: folder of the checkpoint and of results.

    Yields:
        A worker for each system that is installed here, and why the others are left out.
    """
    opened: dict[str, Worker] = {}
    skipped: Result = {}
    with ExitStack() as stack:
        for name in names:
            note(f"loading {name}")
            try:
                opened[name] = Worker(name, given.folder, given.out)
            except Exception as error:  # a peer that fails is named, the others run
                if name.startswith(OURS):
                    raise
                skipped[name] = f"{type(error).__name__}: {error}"
                note(f"left out: {skipped[name]}")
            else:
                stack.callback(opened[name].close)
        yield opened, skipped


def _open(name: str, folder: Path, work: Path) -> None:
    global _held  # noqa: PLW0603 - a process holds one system
    _held = SYSTEMS[name].build(folder, work)


def _run(work: Callable[[Opened], T]) -> T:
    return work(_held)
