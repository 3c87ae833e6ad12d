from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor

import pytest

from langchain_xlm.errors import ModelLoadError, ModelRunError, ModelUnloadedError
from langchain_xlm.runtime.worker import Worker
from tests.runtime.counting_session import CountingSession


@pytest.fixture
def session() -> CountingSession:
    return CountingSession()


@pytest.fixture
def worker(session: CountingSession) -> Iterator[Worker]:
    made = Worker(lambda _: session, model="counting")
    yield made
    session.gate.set()
    made.close(timeout_s=10)


def hold(worker: Worker, session: CountingSession) -> Future[list[int]]:
    """Keep the worker busy inside a batch until `session.gate` is set."""
    session.gate.clear()
    session.entered.clear()
    held = worker.submit(("hold", [1]))
    assert session.entered.wait(10)
    return held


def test_results_come_in_the_order_of_the_request(worker: Worker) -> None:
    numbers = [3, 9, 1, 4, 8, 2, 7, 5, 6, 0]
    assert worker.submit(("a", numbers)).result(10) == [n**2 for n in numbers]


def test_an_empty_request_has_an_empty_answer(worker: Worker) -> None:
    assert worker.submit(("a", [])).result(10) == []


def test_one_thread_alone_touches_the_session(worker: Worker, session: CountingSession) -> None:
    with ThreadPoolExecutor(8) as callers:
        answers = list(
            callers.map(lambda n: worker.submit(("a", [n % 10, n % 7])).result(10), range(200))
        )
    assert answers == [[(n % 10) ** 2, (n % 7) ** 2] for n in range(200)]
    worker.close()
    assert len(session.threads) == 1
    assert threading.get_ident() not in session.threads


def test_a_session_rests_once_when_nothing_comes_for_a_while(
    worker: Worker, session: CountingSession
) -> None:
    for times in (2, 3):  # the first is when it has been opened
        assert worker.submit(("a", [1])).result(10) == [1]
        deadline = time.monotonic() + 10
        while session.rests < times and time.monotonic() < deadline:
            time.sleep(0.01)
        time.sleep(0.2)
        assert session.rests == times


def test_requests_that_wait_together_share_a_batch(
    worker: Worker, session: CountingSession
) -> None:
    hold(worker, session)
    waiting = [worker.submit(("a", [2])) for _ in range(5)]
    session.gate.set()
    assert [one.result(10) for one in waiting] == [[4]] * 5
    assert session.batches[1] == [2] * 5


def test_a_short_request_passes_a_bulk_one(worker: Worker, session: CountingSession) -> None:
    session.pace_s = 0.01
    hold(worker, session)
    bulk = worker.submit(("bulk", [5] * 40))
    session.gate.set()
    while len(session.batches) < 3:
        time.sleep(0.001)
    single = worker.submit(("single", [1]))
    assert single.result(10) == [1]
    assert bulk.result(10) == [25] * 40
    assert session.batches.index([1], 1) < len(session.batches) - 1


def test_a_bulk_request_is_not_starved_by_short_ones(
    worker: Worker, session: CountingSession
) -> None:
    hold(worker, session)
    bulk = worker.submit(("bulk", [5] * 4))
    stop = threading.Event()

    def pester() -> None:
        while not stop.is_set():
            worker.submit(("short", [5])).result(10)

    with ThreadPoolExecutor(4) as callers:
        for _ in range(4):
            callers.submit(pester)
        session.gate.set()
        try:
            assert bulk.result(10) == [25] * 4
        finally:
            stop.set()


def test_a_bulk_request_is_prepared_piece_by_piece(
    worker: Worker, session: CountingSession
) -> None:
    session.pace_s = 0.01
    hold(worker, session)
    bulk = worker.submit(("bulk", [5] * 1000))
    session.gate.set()
    while len(session.batches) < 3:
        time.sleep(0.001)
    session.gate.clear()
    # 4 budgets of 10 tokens are 8 rows of 5; a chunk of 3 may exceed that.
    assert session.prepared <= 1 + len(session.batches) * 2 + 8 + 3
    bulk.cancel()


def test_a_cancelled_request_is_dropped_before_it_runs(
    worker: Worker, session: CountingSession
) -> None:
    hold(worker, session)
    dropped = worker.submit(("dropped", [7]))
    kept = worker.submit(("kept", [8]))
    assert dropped.cancel()
    session.gate.set()
    assert kept.result(10) == [64]
    with pytest.raises(CancelledError):
        dropped.result(10)
    assert [7] not in session.batches


def test_cancelling_a_bulk_request_drops_its_later_batches(
    worker: Worker, session: CountingSession
) -> None:
    session.pace_s = 0.01
    hold(worker, session)
    bulk = worker.submit(("bulk", [10] * 50))
    session.gate.set()
    while len(session.batches) < 4:
        time.sleep(0.001)
    assert bulk.cancel()
    assert worker.submit(("after", [2])).result(10) == [4]
    ran = len(session.batches)
    assert ran < 50
    assert worker.submit(("after", [3])).result(10) == [9]
    assert len(session.batches) == ran + 1


def test_a_request_that_fails_does_not_fail_its_neighbours(
    worker: Worker, session: CountingSession
) -> None:
    session.max_batch_tokens = 100
    hold(worker, session)
    bad = worker.submit(("a", [13, 2]))
    good = [worker.submit(("a", [n])) for n in (3, 4)]
    session.gate.set()
    assert [one.result(10) for one in good] == [[9], [16]]
    with pytest.raises(ModelRunError, match=r"'counting' failed: it raised ArithmeticError: 13 is"):
        bad.result(10)
    assert isinstance(bad.exception().__cause__, ArithmeticError)
    assert worker.submit(("a", [5])).result(10) == [25]


def test_a_request_that_cannot_be_prepared_fails_alone(
    worker: Worker, session: CountingSession
) -> None:
    hold(worker, session)
    bad = worker.submit(("unpreparable", [1]))
    good = worker.submit(("a", [2]))
    session.gate.set()
    assert good.result(10) == [4]
    with pytest.raises(ModelRunError, match="cannot be cut"):
        bad.result(10)


def test_progress_reports_each_row_once(worker: Worker) -> None:
    seen: list[int] = []
    numbers = [1, 2, 3, 4, 5, 6]
    worker.submit(
        ("a", numbers), progress=lambda rows: seen.extend(r.payload for r in rows)
    ).result(10)
    assert sorted(seen) == numbers


def test_a_question_is_answered_before_waiting_batches(
    worker: Worker, session: CountingSession
) -> None:
    hold(worker, session)
    bulk = worker.submit(("bulk", [5] * 40))
    ran = worker.call(lambda s: len(s.batches))
    session.gate.set()
    assert ran.result(10) == 1
    assert bulk.result(10) == [25] * 40


def test_a_question_that_raises_fails_alone(worker: Worker) -> None:
    with pytest.raises(ModelRunError, match="ZeroDivisionError"):
        worker.call(lambda s: 1 // 0).result(10)
    assert worker.submit(("a", [2])).result(10) == [4]


def test_a_failed_load_fails_everyone_who_waits_and_ends_the_worker() -> None:
    arrived = threading.Event()

    def open_session(worker: Worker) -> CountingSession:
        arrived.wait(10)
        raise ModelLoadError("counting", "the file is broken.")

    worker = Worker(open_session, model="counting")
    waiting = [worker.submit(("a", [1])) for _ in range(3)]
    arrived.set()
    for one in waiting:
        with pytest.raises(ModelLoadError, match="the file is broken"):
            one.result(10)
    errors = {id(one.exception()) for one in waiting}
    assert len(errors) == 3
    worker.close()
    assert not worker.usable
    with pytest.raises(ModelUnloadedError):
        worker.submit(("a", [1]))


def test_a_dying_worker_fails_its_requests_with_the_cause(
    worker: Worker, session: CountingSession
) -> None:
    hold(worker, session)
    waiting = [worker.submit(("a", [99])), worker.submit(("b", [150]))]
    session.gate.set()
    for one in waiting:
        with pytest.raises(ModelRunError, match="SystemExit: the thread is told to end"):
            one.result(10)
        assert isinstance(one.exception().__cause__, SystemExit)
    worker.close()
    assert session.closed


def test_closing_answers_who_waits_first(worker: Worker, session: CountingSession) -> None:
    hold(worker, session)
    waiting = worker.submit(("a", [6, 7]))
    closer = threading.Thread(target=worker.close)
    closer.start()
    while worker.usable:
        time.sleep(0.001)
    with pytest.raises(ModelUnloadedError):
        worker.submit(("a", [1]))
    session.gate.set()
    assert waiting.result(10) == [36, 49]
    closer.join(10)
    assert session.closed


def test_closing_can_drop_who_waits(worker: Worker, session: CountingSession) -> None:
    held = hold(worker, session)
    waiting = worker.submit(("a", [6, 7]))
    closer = threading.Thread(target=lambda: worker.close(drop_waiting=True))
    closer.start()
    while worker.usable:
        time.sleep(0.001)
    session.gate.set()
    with pytest.raises(ModelUnloadedError, match="'counting' was unloaded"):
        waiting.result(10)
    assert held.result(10) == [1]
    closer.join(10)
    assert session.batches == [[1]]


def test_closing_a_worker_that_never_started_is_quick() -> None:
    opened = []
    worker = Worker(lambda _: opened.append(1) or CountingSession(), model="counting")
    worker.close()
    assert not opened
