"""Sync and async as one path: an answer is described once, as a generator of futures.

A flow yields each future that it must wait for, is sent its result, and returns the answer.
`run_flow` waits by blocking the thread, `run_flow_async` without blocking the event loop.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Generator
from concurrent.futures import Future
from typing import Any, Generic, TypeVar

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
        step = _Step(flow).take()
        while (future := step.future) is not None:
            try:
                value = future.result(_remaining(deadline))
            except BaseException as error:
                if future.done():
                    step = _Step(flow, error=error).take()
                    continue
                future.cancel()  # out of time, or interrupted while waiting
                if timeout_s is None or not isinstance(error, TimeoutError):
                    raise
                step = _Step(flow, error=RequestTimeoutError(timeout_s, model=model)).take()
            else:
                step = _Step(flow, value=value).take()
        return step.answer
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
        CancelledError: The task was cancelled; so is the work that was waiting.
    """
    deadline = _deadline(timeout_s)
    step = await _advance(_Step(flow))
    while step.future is not None:
        limit = asyncio.timeout(_remaining(deadline))
        try:
            async with limit:
                value = await asyncio.wrap_future(step.future)
        except asyncio.CancelledError:
            flow.close()
            raise
        except Exception as error:  # noqa: BLE001 - handed into the flow, which may handle it
            out_of_time = limit.expired() and timeout_s is not None
            step = await _advance(
                _Step(
                    flow,
                    error=RequestTimeoutError(timeout_s or 0.0, model=model)
                    if out_of_time
                    else error,
                )
            )
        else:
            step = await _advance(_Step(flow, value=value))
    return step.answer


class _Step(Generic[T]):
    """One advance of a flow; once taken, the future that it waits for now, or its answer."""

    future: Future[Any] | None = None
    answer: T

    def __init__(
        self, flow: Flow[T], *, value: object = None, error: BaseException | None = None
    ) -> None:
        self.flow = flow
        self._value = value
        self._error = error

    def take(self) -> _Step[T]:
        try:
            if self._error is None:
                self.future = self.flow.send(self._value)
            else:
                self.future = self.flow.throw(self._error)
        except StopIteration as stop:
            self.answer = stop.value
        return self


async def _advance(step: _Step[T]) -> _Step[T]:
    """Take a step on a thread; on cancellation clean up once the step has ended."""
    task = asyncio.ensure_future(asyncio.to_thread(step.take))

    def abandon(done: asyncio.Future[_Step[T]]) -> None:
        if not done.cancelled() and done.exception() is None and step.future is not None:
            step.future.cancel()
        step.flow.close()

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
