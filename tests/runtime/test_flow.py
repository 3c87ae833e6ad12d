from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Awaitable, Callable
from concurrent.futures import Future
from typing import Any

import pytest

from langchain_xlm.errors import ConfigurationError, RequestTimeoutError
from langchain_xlm.runtime.flow import Flow, run_flow, run_flow_async

Runner = Callable[..., Any]


def run_in_loop(flow: Flow[Any], **options: Any) -> Any:
    return asyncio.run(run_flow_async(flow, **options))


both = pytest.mark.parametrize("run", [run_flow, run_in_loop], ids=["sync", "async"])


def done(value: object) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_result(value)
    return future


def failed(error: Exception) -> Future[Any]:
    future: Future[Any] = Future()
    future.set_exception(error)
    return future


@both
def test_a_flow_is_sent_each_result_and_returns_its_answer(run: Runner) -> None:
    def flow() -> Flow[list[int]]:
        first = yield done(1)
        second = yield done(first + 1)
        return [first, second]

    assert run(flow(), model="m") == [1, 2]


@both
def test_a_flow_without_futures_returns_at_once(run: Runner) -> None:
    def flow() -> Flow[str]:
        return "at once"
        yield done(None)

    assert run(flow(), model="m") == "at once"


@both
def test_a_failure_is_raised_inside_the_flow(run: Runner) -> None:
    def flow() -> Flow[str]:
        try:
            yield failed(KeyError("lost"))
        except KeyError:
            return "mended"
        return "unharmed"

    assert run(flow(), model="m") == "mended"


@both
def test_a_failure_that_the_flow_does_not_handle_reaches_the_caller(run: Runner) -> None:
    def flow() -> Flow[None]:
        yield failed(KeyError("lost"))

    with pytest.raises(KeyError, match="lost"):
        run(flow(), model="m")


@both
def test_a_flow_delegates_to_another(run: Runner) -> None:
    def inner() -> Flow[int]:
        return (yield done(20)) + 1

    def outer() -> Flow[int]:
        return (yield from inner()) * 2

    assert run(outer(), model="m") == 42


@both
def test_out_of_time_cancels_the_future_and_names_the_model(run: Runner) -> None:
    never: Future[Any] = Future()

    def flow() -> Flow[None]:
        yield never

    with pytest.raises(RequestTimeoutError, match=r"'slow-model' within 0\.05 s") as caught:
        run(flow(), model="slow-model", timeout_s=0.05)
    assert caught.value.timeout_s == 0.05
    assert never.cancelled()


@both
def test_a_time_out_of_the_answer_itself_is_passed_on(run: Runner) -> None:
    def flow() -> Flow[None]:
        yield failed(TimeoutError("the disk's own"))

    with pytest.raises(TimeoutError, match="the disk's own"):
        run(flow(), model="m", timeout_s=5)


@both
@pytest.mark.parametrize("timeout_s", [0, -1, float("nan")])
def test_a_limit_without_time_is_refused(run: Runner, timeout_s: float) -> None:
    def flow() -> Flow[None]:
        yield done(None)

    with pytest.raises(ConfigurationError, match="leaves no time"):
        run(flow(), model="m", timeout_s=timeout_s)


def test_interrupting_a_blocked_caller_cancels_the_future() -> None:
    class Interrupted(Future[Any]):
        def result(self, timeout: float | None = None) -> Any:
            raise KeyboardInterrupt

    waiting = Interrupted()

    def flow() -> Flow[None]:
        yield waiting

    with pytest.raises(KeyboardInterrupt):
        run_flow(flow(), model="m")
    assert waiting.cancelled()


async def test_the_loop_runs_on_while_a_step_computes() -> None:
    def flow() -> Flow[str]:
        time.sleep(0.2)
        yield done(None)
        time.sleep(0.2)
        return "slow"

    ticks = 0

    async def tick() -> None:
        nonlocal ticks
        while True:
            await asyncio.sleep(0.01)
            ticks += 1

    ticking = asyncio.ensure_future(tick())
    assert await run_flow_async(flow(), model="m") == "slow"
    ticking.cancel()
    assert ticks > 10


async def test_cancelling_the_task_cancels_the_future_that_waits() -> None:
    waiting: Future[Any] = Future()
    closed = threading.Event()

    def flow() -> Flow[None]:
        try:
            yield waiting
        finally:
            closed.set()

    task = asyncio.ensure_future(run_flow_async(flow(), model="m"))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    assert waiting.cancelled()
    assert closed.is_set()


async def test_cancelling_during_a_step_drops_what_the_step_asks_for() -> None:
    asked: Future[Any] = Future()
    stepping, go_on = threading.Event(), threading.Event()

    def flow() -> Flow[None]:
        stepping.set()
        go_on.wait(10)
        yield asked

    task = asyncio.ensure_future(run_flow_async(flow(), model="m"))
    await asyncio.to_thread(stepping.wait, 10)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    go_on.set()
    for _ in range(200):
        if asked.cancelled():
            break
        await asyncio.sleep(0.01)
    assert asked.cancelled()


async def test_async_timeouts_of_the_caller_work() -> None:
    never: Future[Any] = Future()

    def flow() -> Flow[None]:
        yield never

    pending: Awaitable[None] = run_flow_async(flow(), model="m", timeout_s=60)
    with pytest.raises(TimeoutError):
        await asyncio.wait_for(pending, 0.05)
    assert never.cancelled()
