"""A session whose model is arithmetic, so that scheduling can be watched without a model."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence

from langchain_xlm.runtime.batching import Unit


class CountingSession:
    """Squares numbers. A request is `(group, numbers)`; a number's length is its value.

    Attributes:
        batches: The numbers of each batch that ran.
        threads: The threads that touched the session.
        gate: Batches wait for it, so that a test can hold the worker.
        entered: Set when a batch has started.
        pace_s: How long a batch takes.
        rests: How often it has been told to rest.
    """

    max_batch_tokens = 10
    batch_multiple = 1

    def __init__(self, *, chunk: int = 3, memory_bytes: int = 100) -> None:
        self.memory_bytes = memory_bytes
        self.batches: list[list[int]] = []
        self.threads: set[int] = set()
        self.gate = threading.Event()
        self.gate.set()
        self.entered = threading.Event()
        self.prepared = 0
        self.closed = False
        self.chunk = chunk
        self.pace_s = 0.0
        self.rests = 0

    def prepare(self, request: tuple[str, Sequence[int]]) -> Iterator[list[Unit[int]]]:
        self.threads.add(threading.get_ident())
        group, numbers = request
        if group == "unpreparable":
            raise ValueError("cannot be cut")
        for start in range(0, len(numbers), self.chunk):
            rows = list(numbers[start : start + self.chunk])
            self.prepared += len(rows)
            yield [Unit(payload=number, tokens=number, group=group) for number in rows]

    def run(self, units: Sequence[Unit[int]]) -> list[int]:
        self.threads.add(threading.get_ident())
        self.entered.set()
        self.gate.wait(10)
        time.sleep(self.pace_s)
        numbers = [unit.payload for unit in units]
        self.batches.append(numbers)
        if 13 in numbers:
            raise ArithmeticError("13 is unlucky")
        if 99 in numbers:
            raise SystemExit("the thread is told to end")
        return [number**2 for number in numbers]

    def rest(self) -> None:
        self.threads.add(threading.get_ident())
        self.rests += 1

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed = True
