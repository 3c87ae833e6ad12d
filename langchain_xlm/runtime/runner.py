"""Running a batch: whose rows failed, and what to do where memory was short."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from langchain_xlm.errors import InsufficientMemoryError
from langchain_xlm.runtime.batching import Backlog, Unit
from langchain_xlm.runtime.session import Memory, Progress, Session, Shortage

__all__ = ["BatchRunner", "Job", "Parts"]

logger = logging.getLogger(__name__)

# After so many batches in a row at the reduced size, twice the size is tried again. Memory may
# have been short because of something else that is gone by then; where it is not, one batch in
# these many fails and is halved, which costs about two percent.
_BATCHES_BEFORE_GROWTH = 64


@dataclass(eq=False, slots=True)
class Job:
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
        """Whether all its rows have results."""
        return self.rows is None and not self.backlog

    def fail(self, error: BaseException) -> None:
        """Give its caller an error, unless it was cancelled."""
        if self.future.set_running_or_notify_cancel():
            self.future.set_exception(error)

    def succeed(self, value: Any) -> None:
        """Give its caller the answer, unless it was cancelled."""
        # The future stays pending until here, so that it can be cancelled at any time before.
        if self.future.set_running_or_notify_cancel():
            self.future.set_result(value)


Parts = dict[Job, list[tuple[int, Unit[Any]]]]
"""The rows of a batch by request, each with its place in the request's answer."""


class BatchRunner:
    """Runs the batches of one model, and knows which size of batch fits into memory."""

    def __init__(self, model: str, memory: Memory) -> None:
        """Make a runner.

        Args:
            model: Hub id or folder, named in errors.
            memory: Tells which errors mean that memory was short.
        """
        self._model = model
        self._memory = memory
        self._fitting_tokens: int | None = None
        self._batches_at_size = 0

    def budget(self, session: Session) -> int:
        """Tell the budget of the next batch: the session's, or what has fitted into memory.

        Args:
            session: The model.

        Returns:
            Rows times longest row, in tokens.
        """
        if self._fitting_tokens is None:
            return session.max_batch_tokens
        self._batches_at_size += 1
        if self._batches_at_size > _BATCHES_BEFORE_GROWTH:
            self._batches_at_size = 0
            self._fitting_tokens *= 2
            if self._fitting_tokens >= session.max_batch_tokens:
                self._fitting_tokens = None
                return session.max_batch_tokens
        return min(self._fitting_tokens, session.max_batch_tokens)

    def run(self, session: Session, parts: Parts) -> dict[Job, Exception]:
        """Run the rows of several requests as one batch.

        Args:
            session: The model.
            parts: The rows; results go into their jobs.

        Returns:
            The requests that failed, each with what its rows raised.
        """
        error, shortage = self._try_parts(session, parts)
        if error is not None and len(parts) > 1:
            # One request's rows may have broken the batch of all: run each request's alone.
            logger.info(
                "A shared batch of %r failed, its requests run alone: %r", self._model, error
            )
            return self._run_each(session, [{job: rows} for job, rows in parts.items()])
        if error is not None:
            return dict.fromkeys(parts, error)
        if shortage is None:
            return {}
        # By now nothing refers to the failed batch: its tensors can be given back.
        self._memory.release_memory()
        if sum(map(len, parts.values())) == 1:
            short = InsufficientMemoryError(
                self._model,
                needed_bytes=shortage.needed_bytes,
                free_bytes=shortage.free_bytes,
                device=shortage.device,
                while_running=True,
            )
            return dict.fromkeys(parts, short)
        self._shrink(parts)
        return self._run_each(session, halves_of(parts))

    def _run_each(self, session: Session, several: list[Parts]) -> dict[Job, Exception]:
        """Run batches one after the other, leaving out the requests that have failed."""
        failed: dict[Job, Exception] = {}
        for parts in several:
            left = {job: rows for job, rows in parts.items() if job not in failed}
            if left:
                failed |= self.run(session, left)
        return failed

    def _try_parts(
        self, session: Session, parts: Parts
    ) -> tuple[Exception | None, Shortage | None]:
        """Run a batch; return what it raised, of a lack of memory only the figures."""
        try:
            results = iter(session.run([unit for rows in parts.values() for _, unit in rows]))
            for job, rows in parts.items():
                for place, _ in rows:
                    job.results[place] = next(results)
                if job.progress is not None:
                    job.progress([unit for _, unit in rows])
        except Exception as error:  # noqa: BLE001 - the edge between a request and its thread
            shortage = self._memory.shortage_of(error)
            return (None, shortage) if shortage is not None else (error, None)
        return None, None

    def _shrink(self, parts: Parts) -> None:
        """Remember half the size of a batch that did not fit."""
        lengths = [unit.tokens for rows in parts.values() for _, unit in rows]
        rectangle = max(1, len(lengths) * max(lengths))
        self._batches_at_size = 0
        self._fitting_tokens = max(1, min(self._fitting_tokens or rectangle, rectangle // 2))
        logger.info(
            "A batch of %d rows did not fit into memory; %r goes on with %d tokens in a batch.",
            len(lengths),
            self._model,
            self._fitting_tokens,
        )


def halves_of(parts: Parts) -> list[Parts]:
    """Cut a batch of several rows into two, the first rows first."""
    rows = [(job, row) for job, own in parts.items() for row in own]
    halves: list[Parts] = [{}, {}]
    for number, (job, row) in enumerate(rows):
        halves[number >= (len(rows) + 1) // 2].setdefault(job, []).append(row)
    return halves
