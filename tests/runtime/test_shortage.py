"""What the worker does where memory is short, watched on a session that has little of it."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass

import pytest

from langchain_xlm.errors import InsufficientMemoryError, ModelRunError
from langchain_xlm.runtime.batching import Unit
from langchain_xlm.runtime.worker import Worker
from tests.runtime.counting_session import CountingSession


class Tensor:
    """Something that a failed batch has made."""


@dataclass(frozen=True)
class Short:
    device: str = "cpu"
    needed_bytes: int | None = 40
    free_bytes: int | None = 30


class LittleMemory(CountingSession):
    """Has room for some tokens; a number that is alone and too long never fits."""

    max_batch_tokens = 64

    def __init__(self, room: int) -> None:
        super().__init__(chunk=8)
        self.room = room
        self.tried: list[int] = []
        self.released = 0
        self.tensors: list[weakref.ref[Tensor]] = []
        self.alive: list[int] = []

    def run(self, units: Sequence[Unit[int]]) -> list[int]:
        self.alive.append(sum(tensor() is not None for tensor in self.tensors))
        self.tried.append(len(units))
        tensor = Tensor()
        self.tensors.append(weakref.ref(tensor))
        if len(units) * max(unit.tokens for unit in units) > self.room:
            raise MemoryError
        return super().run(units)

    def shortage_of(self, error: BaseException, /) -> Short | None:
        return Short() if isinstance(error, MemoryError) else None

    def release_memory(self) -> None:
        self.released += 1


@pytest.fixture
def session() -> LittleMemory:
    return LittleMemory(room=16)


@pytest.fixture
def worker(session: LittleMemory) -> Iterator[Worker]:
    made = Worker(lambda _: session, model="counting", memory=session)
    yield made
    session.gate.set()
    made.close(timeout_s=10)


def test_a_batch_is_halved_until_it_fits(worker: Worker, session: LittleMemory) -> None:
    numbers = [4, 3, 2, 4, 4, 1, 4, 2]
    assert worker.submit(("a", numbers)).result(10) == [n**2 for n in numbers]
    assert session.tried == [8, 4, 4]
    assert session.released == 1


def test_the_size_that_fits_is_remembered(worker: Worker, session: LittleMemory) -> None:
    for _ in range(5):
        assert worker.submit(("a", [4] * 16)).result(10) == [16] * 16
    assert session.tried == [16, 8, 4, 4, 8, 4, 4] + [4] * 16


def test_the_size_grows_back_when_there_is_room_again(
    worker: Worker, session: LittleMemory
) -> None:
    worker.submit(("a", [4] * 16)).result(10)
    session.room = 64
    session.tried.clear()
    worker.submit(("a", [4] * 2000)).result(20)
    assert session.tried[0] == 4
    assert session.tried[:64] == [4] * 64
    assert session.tried[64] == 8
    assert session.tried[-2] == 16


def test_growing_back_too_early_costs_one_batch_in_many(
    worker: Worker, session: LittleMemory
) -> None:
    worker.submit(("a", [4] * 16)).result(10)
    session.tried.clear()
    worker.submit(("a", [4] * 1040)).result(20)
    assert session.tried.count(8) <= 4
    assert set(session.tried) == {4, 8}


def test_one_row_that_does_not_fit_fails_its_request_alone(
    worker: Worker, session: LittleMemory
) -> None:
    session.gate.clear()
    held = worker.submit(("hold", [1]))
    assert session.entered.wait(10)
    waiting: list[Future[list[int]]] = [worker.submit(("a", [n])) for n in (3, 40, 5)]
    session.gate.set()
    with pytest.raises(InsufficientMemoryError, match="one text alone needs") as caught:
        waiting[1].result(10)
    error = caught.value
    assert (error.needed_bytes, error.free_bytes, error.device) == (40, 30, "cpu")
    assert [held.result(10), waiting[0].result(10), waiting[2].result(10)] == [[1], [9], [25]]


def test_nothing_of_the_failed_batch_is_kept(worker: Worker, session: LittleMemory) -> None:
    gc.disable()  # cycles would keep it until the collector comes by
    try:
        worker.submit(("a", [4] * 16)).result(10)
    finally:
        gc.enable()
    assert session.alive == [0] * len(session.alive)


def test_other_errors_are_not_taken_for_a_lack_of_memory(
    worker: Worker, session: LittleMemory
) -> None:
    with pytest.raises(ModelRunError, match="13 is unlucky"):
        worker.submit(("a", [13])).result(10)
    assert session.released == 0


def test_a_bad_row_within_a_halved_batch_fails_its_request_alone(
    worker: Worker, session: LittleMemory
) -> None:
    session.gate.clear()
    held = worker.submit(("hold", [1]))
    assert session.entered.wait(10)
    waiting = [worker.submit(("a", [n, n])) for n in (13, 6, 7)]
    session.gate.set()
    with pytest.raises(ModelRunError, match="13 is unlucky"):
        waiting[0].result(10)
    assert [one.result(10) for one in (held, *waiting[1:])] == [[1], [36, 36], [49, 49]]
