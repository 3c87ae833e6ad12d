"""Sync and async as one path: an answer is described once, as a generator of futures.

A flow yields each future that it must wait for, is sent its result, and returns the answer.
`run_flow` waits by blocking the thread, `run_flow_async` without blocking the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Generator
from concurrent.futures import Future
from typing import Any, TypeVar

from langchain_xlm.errors import ConfigurationError, RequestTimeoutError

T = TypeVar("T")

Flow = Generator[Future[Any], Any, T]


def run_flow(flow: Flow[T], *, model: str, timeout_s: float | None = None) -> T:
    """Drive a flow to its end, blocking the calling thread.

    Args:
        flow: The flow; it is closed on return.
        model: Named in the error when time runs out.
        timeout_s: Limit for the whole flow, in seconds; None waits without limit.

    Returns:
        What the flow returns.

    Raises:
        RequestTimeoutError: The limit ran out; the work that was waiting is dropped.
    """
    deadline = _deadline(timeout_s)
    try:
        step = _Step(flow)
        while step.future is not None:
            try:
                value = step.future.result(_remaining(deadline))
            except BaseException as error:
                if not step.future.done():  # out of time, or interrupted while waiting
                    step.future.cancel()
                    if timeout_s is None or not isinstance(error, TimeoutError):
                        raise
                    error = RequestTimeoutError(timeout_s, model=model)
                step = _Step(flow, error=error)
            else:
                step = _Step(flow, value=value)
        return step.result()
    finally:
        flow.close()


async def run_flow_async(flow: Flow[T], *, model: str, timeout_s: float | None = None) -> T:
    """Drive a flow to its end without ever blocking the event loop.

    What a flow does between two futures (importing a library, detecting a language) can take
    long enough to be felt, so each step runs on a thread. Cancelling the task drops the work
    that waits.

    Args:
        flow: The flow; it is closed on return.
        model: Named in the error when time runs out.
        timeout_s: Limit for the whole flow, in seconds; None waits without limit.

    Returns:
        What the flow returns.

    Raises:
        RequestTimeoutError: The limit ran out; the work that was waiting is dropped.
    """
    deadline = _deadline(timeout_s)
    step = await _advance(flow, lambda: _Step(flow))
    while step.future is not None:
        try:
            async with asyncio.timeout(_remaining(deadline)) as limit:
                value = await asyncio.wrap_future(step.future)
        except asyncio.CancelledError:
            flow.close()
            raise
        except Exception as error:  # handed into the flow, which may handle it
            if limit.expired() and timeout_s is not None:
                error = RequestTimeoutError(timeout_s, model=model)
            failure = error
            step = await _advance(flow, lambda: _Step(flow, error=failure))
        else:
            step = await _advance(flow, lambda: _Step(flow, value=value))
    return step.result()


class _Step:
    """One advance of a flow: the future that it waits for now, or its answer."""

    def __init__(
        self, flow: Flow[Any], *, value: object = None, error: BaseException | None = None
    ) -> None:
        self.future: Future[Any] | None = None
        self._answer: Any = None
        try:
            self.future = flow.send(value) if error is None else flow.throw(error)
        except StopIteration as stop:
            self._answer = stop.value

    def result(self) -> Any:
        return self._answer


async def _advance(flow: Flow[Any], advance: Callable[[], _Step]) -> _Step:
    """Advance a flow on a thread; on cancellation clean up once the step has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(advance))

    def abandon(done: asyncio.Future[_Step]) -> None:
        if not done.cancelled() and done.exception() is None and done.result().future:
            done.result().future.cancel()  # type: ignore[union-attr]
        flow.close()

    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        # A generator cannot be closed while it runs, and its thread cannot be stopped.
        task.add_done_callback(abandon)
        raise


def _deadline(timeout_s: float | None) -> float | None:
    if timeout_s is None:
        return None
    if not timeout_s > 0:
        raise ConfigurationError(
            f"timeout_s={timeout_s!r} leaves no time: give seconds above 0, or None for no limit."
        )
    return time.monotonic() + timeout_s


def _remaining(deadline: float | None) -> float | None:
    return None if deadline is None else max(0.0, deadline - time.monotonic())
