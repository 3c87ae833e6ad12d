"""The thread that owns a model: every request to it passes through one queue.

Only this thread touches the model and its tokenizer, so that nothing has to be locked and
parallel calls cannot corrupt each other. Requests that wait at the same time share batches; the
rows of a bulk request run in many batches, between which shorter requests pass.
"""

from __future__ import annotations

import copy
import logging
import threading
import time
from collections.abc import Callable
from concurrent.futures import Future
from typing import Any, TypeVar

from langchain_xlm.errors import ModelRunError, ModelUnloadedError, XLMError
from langchain_xlm.runtime.batching import fill_batch
from langchain_xlm.runtime.runner import BatchRunner, Job, Parts
from langchain_xlm.runtime.session import Memory, NoMemory, Progress, Session

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=Session)
R = TypeVar("R")

# How long no request must have come before a session rests, in seconds.
_REST_AFTER_S = 0.05

# Rows are prepared this many budgets ahead: enough to find rows of near lengths, little enough
# that preparing a bulk request does not keep others waiting.
_BUDGETS_AHEAD = 4


class Worker:
    """One model, one thread, one queue.

    The thread starts with the first request and opens the session itself, so that loading
    blocks nobody but those who wait for this model.
    """

    def __init__(
        self,
        open_session: Callable[[Worker], Session],
        *,
        model: str,
        memory: Memory | None = None,
        on_end: Callable[[Worker], None] | None = None,
    ) -> None:
        """Make a worker that has not started.

        Args:
            open_session: Loads the model; called once, on the worker's thread.
            model: Hub id or folder, named in errors and in the thread's name.
            memory: Tells which errors mean that memory was short.
            on_end: Called on the worker's thread once the model has been let go.
        """
        self.model = model
        self.last_used = time.monotonic()
        self._open_session = open_session
        self._memory: Memory = memory or NoMemory()
        self._runner = BatchRunner(model, self._memory)
        self._on_end = on_end
        self._busy = True
        self._retiring = False
        self._changed = threading.Condition()
        self._arrived: list[Job] = []
        self._closing = False
        self._drop_waiting = False
        self._ended = False
        self._thread: threading.Thread | None = None

    @property
    def usable(self) -> bool:
        """Whether a request would be accepted now."""
        with self._changed:
            return not self._closing and not self._ended

    @property
    def idle(self) -> bool:
        """Whether the model is loaded, and no request is running or waiting."""
        with self._changed:
            return not self._busy and not self._arrived

    @property
    def leaving(self) -> bool:
        """Whether it has been asked to end, at once or when it is idle."""
        with self._changed:
            return self._closing or self._retiring

    def retire(self) -> None:
        """End as soon as no request is running or waiting; until then everything goes on."""
        with self._changed:
            self._retiring = True
            self._changed.notify_all()

    def give_up_unwanted(self) -> None:
        """End a worker that has not loaded yet, if nobody waits for it any more.

        Raises:
            ModelUnloadedError: Nobody does.
        """
        with self._changed:
            cancelled = all(job.future.cancelled() for job in self._arrived)
            if cancelled or self._drop_waiting:
                self._closing = True
                raise ModelUnloadedError(self.model)

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
        self._put(Job(future, request=request, progress=progress))
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
        self._put(Job(future, question=question))
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

    def _put(self, job: Job) -> None:
        with self._changed:
            if self._closing or self._ended:
                raise ModelUnloadedError(self.model)
            self._arrived.append(job)
            self.last_used = time.monotonic()
            if self._thread is None:
                self._thread = threading.Thread(
                    target=self._live, name=f"langchain-xlm {self.model}", daemon=True
                )
                self._thread.start()
            self._changed.notify_all()

    def _live(self) -> None:
        """Open the session, serve until closed; whatever ends the thread fails who waits."""
        jobs: list[Job] = []
        cause = self._live_with(jobs)
        with self._changed:
            self._ended = True
            jobs += self._arrived
            self._arrived.clear()
        for job in jobs:
            job.fail(self._as_own(cause, "its worker died of"))

    def _live_with(self, jobs: list[Job]) -> BaseException:
        """Open the session, serve, and let it go; return why."""
        session: Session | None = None
        try:
            session = self._open_session(self)
            session.rest()  # from loading
            self._serve(session, jobs)
            return ModelUnloadedError(self.model)
        except BaseException as error:  # noqa: BLE001 - the outermost edge: callers must hear of it
            with self._changed:
                self._closing = True
            if not isinstance(error, XLMError):
                logger.warning("The worker of %r died: %r", self.model, error)
            return error
        finally:
            if session is not None:
                session.close()
                del session
                self._memory.release_memory()
            if self._on_end is not None:
                self._on_end(self)

    def _serve(self, session: Session, jobs: list[Job]) -> None:
        while True:
            with self._changed:
                if not (jobs or self._arrived):
                    self._busy, self.last_used = False, time.monotonic()
                rests = False
                while not (jobs or self._arrived or self._closing):
                    if self._retiring:
                        self._closing = True
                        break
                    if not self._changed.wait(None if rests else _REST_AFTER_S):
                        session.rest()
                        rests = True
                self._busy = True
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

    def _answer(self, session: Session, job: Job) -> None:
        assert job.question is not None
        try:
            job.succeed(job.question(session))
        except Exception as error:  # noqa: BLE001 - the edge between a request and its thread
            job.fail(self._as_own(error, "it raised"))

    def _prepare(self, session: Session, jobs: list[Job]) -> None:
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

    def _run_batch(self, session: Session, jobs: list[Job]) -> None:
        # Start-time fair queueing (Goyal et al. 1996): whoever has been served the fewest
        # tokens goes first, and a newcomer starts level with the least served, so that a
        # short request passes a bulk one and neither can starve the other.
        queue = sorted(
            (job for job in jobs if job.backlog), key=lambda job: (job.served, job.backlog.tokens)
        )
        batch = fill_batch(
            [job.backlog for job in queue],
            max_tokens=self._runner.budget(session),
            multiple=session.batch_multiple,
        )
        parts: Parts = {}
        for index, place, unit in batch:
            parts.setdefault(queue[index], []).append((place, unit))
            queue[index].served += unit.tokens
        for job, error in self._runner.run(session, parts).items():
            jobs.remove(job)
            job.fail(self._as_own(error, "it raised"))

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
