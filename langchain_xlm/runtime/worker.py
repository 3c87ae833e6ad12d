"""The thread that owns a model: every request to it passes through one queue.

Only this thread touches the model and its tokenizer, so that nothing has to be locked and
parallel calls cannot corrupt each other. Requests that wait at the same time share batches; the
rows of a bulk request run in many batches, between which shorter requests pass.
"""

from __future__ import annotations

import copy
import logging
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from langchain_xlm.errors import ModelRunError, ModelUnloadedError, XLMError
from langchain_xlm.runtime.batching import Backlog, Unit, fill_batch

logger = logging.getLogger(__name__)

S = TypeVar("S", bound="Session")
R = TypeVar("R")
Progress = Callable[[Sequence[Unit[Any]]], None]

# Rows are prepared this many budgets ahead: enough to find rows of near lengths, little enough
# that preparing a bulk request does not keep others waiting.
_BUDGETS_AHEAD = 4


class Session(Protocol):
    """A model in use. It is opened, used and closed on the worker's thread alone."""

    @property
    def max_batch_tokens(self) -> int:
        """Budget of one batch: rows times longest row, in tokens."""

    def prepare(self, request: Any) -> Iterator[list[Unit[Any]]]:
        """Cut a request into rows, some at a time; what it raises fails this request alone."""

    def run(self, units: Sequence[Unit[Any]]) -> Sequence[Any]:
        """Compute one result for each row; all rows have one group."""

    def close(self) -> None:
        """Let go of the model and free its memory."""


@dataclass(eq=False, slots=True)
class _Job:
    """A request on its way: rows not yet prepared, rows waiting, and results so far."""

    future: Future[Any]
    request: Any = None
    question: Callable[[Any], Any] | None = None
    progress: Progress | None = None
    rows: Iterator[list[Unit[Any]]] | None = None
    backlog: Backlog[Any] = field(default_factory=Backlog)
    results: list[Any] = field(default_factory=list)
    served: float = 0.0

    @property
    def finished(self) -> bool:
        return self.rows is None and not self.backlog

    def fail(self, error: BaseException) -> None:
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def succeed(self, value: Any) -> None:
        # The future stays pending until here, so that it can be cancelled at any time before.
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(value)


_Parts = dict[_Job, list[tuple[int, Unit[Any]]]]


class Worker:
    """One model, one thread, one queue.

    The thread starts with the first request and opens the session itself, so that loading
    blocks nobody but those who wait for this model.
    """

    def __init__(self, open_session: Callable[[], Session], *, model: str) -> None:
        """Make a worker that has not started.

        Args:
            open_session: Loads the model; called once, on the worker's thread.
            model: Hub id or folder, named in errors and in the thread's name.
        """
        self.model = model
        self._open_session = open_session
        self._changed = threading.Condition()
        self._arrived: list[_Job] = []
        self._closing = False
        self._drop_waiting = False
        self._ended = False
        self._thread: threading.Thread | None = None

    @property
    def usable(self) -> bool:
        """Whether a request would be accepted now."""
        with self._changed:
            return not self._closing and not self._ended

    def submit(self, request: Any, *, progress: Progress | None = None) -> Future[list[Any]]:
        """Queue a request.

        Args:
            request: What the session's `prepare` understands.
            progress: Called on the worker's thread with the rows of each finished batch.

        Returns:
            The results of the request's rows in the order of preparation. Cancelling the
            future drops every batch of it that has not started.

        Raises:
            ModelUnloadedError: The worker is closed or has died.
        """
        future: Future[list[Any]] = Future()
        self._put(_Job(future, request=request, progress=progress))
        return future

    def call(self, question: Callable[[S], R]) -> Future[R]:
        """Queue a short question to the session, answered before waiting batches.

        Args:
            question: Called with the session on the worker's thread.

        Returns:
            The answer.

        Raises:
            ModelUnloadedError: The worker is closed or has died.
        """
        future: Future[R] = Future()
        self._put(_Job(future, question=question))
        return future

    def close(self, *, drop_waiting: bool = False, timeout_s: float | None = None) -> None:
        """Accept nothing more, end the thread and free the model.

        Args:
            drop_waiting: Fail the requests that wait instead of answering them first; a batch
                that runs is finished in any case.
            timeout_s: How long to wait for the thread's end, in seconds; None waits for it.
        """
        with self._changed:
            self._closing = True
            if drop_waiting:
                self._drop_waiting = True
            thread = self._thread
            self._changed.notify_all()
        if thread is not None and thread is not threading.current_thread():
            thread.join(timeout_s)

    def _put(self, job: _Job) -> None:
        with self._changed:
            if self._closing or self._ended:
                raise ModelUnloadedError(self.model)
            self._arrived.append(job)
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._live, name=f"langchain-xlm {self.model}", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def _live(self) -> None:
        """Open the session, serve until closed; whatever ends the thread fails who waits."""
        jobs: list[_Job] = []
        session: Session | None = None
        try:
            session = self._open_session()
            self._serve(session, jobs)
            cause: BaseException = ModelUnloadedError(self.model)
        except BaseException as error:  # noqa: BLE001 - the outermost edge: callers must hear of it
            if not isinstance(error, XLMError):
                logger.warning("The worker of %r died: %r", self.model, error)
            cause = error
        with self._changed:
            self._ended = True
            jobs += self._arrived
            self._arrived.clear()
        for job in jobs:
            job.fail(self._as_own(cause, "its worker died of"))
        if session is not None:
            session.close()

    def _serve(self, session: Session, jobs: list[_Job]) -> None:
        while True:
            with self._changed:
                while not (jobs or self._arrived or self._closing):
                    self._changed.wait()
                start = min((job.served for job in jobs), default=0.0)
                for job in self._arrived:
                    job.served = start
                jobs += self._arrived
                self._arrived.clear()
                if self._drop_waiting or (self._closing and not jobs):
                    return
            jobs[:] = [job for job in jobs if not job.future.cancelled()]
            for job in [job for job in jobs if job.question is not None]:
                jobs.remove(job)
                self._answer(session, job)
            self._prepare(session, jobs)
            if any(job.backlog for job in jobs):
                self._run_batch(session, jobs)
            for job in [job for job in jobs if job.finished]:
                jobs.remove(job)
                job.succeed(job.results)

    def _answer(self, session: Session, job: _Job) -> None:
        assert job.question is not None
        try:
            job.succeed(job.question(session))
        except Exception as error:  # noqa: BLE001 - the edge between a request and its thread
            job.fail(self._as_own(error, "it raised"))

    def _prepare(self, session: Session, jobs: list[_Job]) -> None:
        """Keep enough rows of every request waiting; drop the requests that cannot be cut."""
        ahead = session.max_batch_tokens * _BUDGETS_AHEAD
        for job in list(jobs):
            try:
                if job.request is not None:
                    job.rows, job.request = session.prepare(job.request), None
                while job.rows is not None and job.backlog.tokens < ahead:
                    chunk = next(job.rows, None)
                    if chunk is None:
                        job.rows = None
                    else:
                        job.results.extend([None] * job.backlog.add(chunk))
            except Exception as error:  # noqa: BLE001 - the edge between a request and its thread
                jobs.remove(job)
                job.fail(self._as_own(error, "it could not prepare the request:"))

    def _run_batch(self, session: Session, jobs: list[_Job]) -> None:
        # Start-time fair queueing (Goyal et al. 1996): whoever has been served the fewest
        # tokens goes first, and a newcomer starts level with the least served, so that a
        # short request passes a bulk one and neither can starve the other.
        queue = sorted(
            (job for job in jobs if job.backlog), key=lambda job: (job.served, job.backlog.tokens)
        )
        batch = fill_batch([job.backlog for job in queue], max_tokens=session.max_batch_tokens)
        parts: _Parts = {}
        for index, place, unit in batch:
            parts.setdefault(queue[index], []).append((place, unit))
            queue[index].served += unit.tokens
        for job, error in self._run_parts(session, parts).items():
            jobs.remove(job)
            job.fail(self._as_own(error, "it raised"))

    def _run_parts(self, session: Session, parts: _Parts) -> dict[_Job, Exception]:
        """Run the rows of several requests as one batch; return the requests that failed."""
        try:
            results = iter(session.run([unit for rows in parts.values() for _, unit in rows]))
            for job, rows in parts.items():
                for place, _ in rows:
                    job.results[place] = next(results)
                if job.progress is not None:
                    job.progress([unit for _, unit in rows])
        except Exception as error:  # noqa: BLE001 - the edge between a request and its thread
            if len(parts) == 1:
                return dict.fromkeys(parts, error)
            # One request's rows may have broken the batch of all: run each request's alone.
            logger.info(
                "A shared batch of %r failed, its requests run alone: %r", self.model, error
            )
            failed: dict[_Job, Exception] = {}
            for job, rows in parts.items():
                failed |= self._run_parts(session, {job: rows})
            return failed
        return {}

    def _as_own(self, error: BaseException, how: str) -> BaseException:
        """Return an error of the package for one waiter, with its cause chained."""
        if isinstance(error, XLMError):
            # Each waiter gets a copy: raising one object in many threads mixes tracebacks.
            twin = copy.copy(error)
            twin.__cause__ = error.__cause__
            return twin
        own = ModelRunError(self.model, f"{how} {type(error).__name__}: {error}")
        own.__cause__ = error
        return own
