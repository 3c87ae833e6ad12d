"""The loaded models of this process, shared by configuration."""

from __future__ import annotations

import atexit
import os
import threading
from collections.abc import Callable, Hashable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, TypeVar

from langchain_xlm.errors import ModelUnloadedError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.worker import Progress, Session, Worker

S = TypeVar("S", bound=Session)
R = TypeVar("R")

# How long the end of the interpreter waits for a batch that runs, in seconds.
_EXIT_TIMEOUT_S = 10.0


@dataclass(slots=True)
class _Pool:
    lock: threading.Lock = field(default_factory=threading.Lock)
    workers: dict[LoadSpec, Worker] = field(default_factory=dict)


_pool = _Pool()


@dataclass(frozen=True)
class SharedModel:
    """A handle on a model that is loaded on first use and shared by equal specifications.

    Attributes:
        spec: What to load and how.
        open_session: Loads it; called on the thread that will own it.
    """

    spec: LoadSpec
    open_session: Callable[[LoadSpec], Session]

    def submit(self, request: Any, *, progress: Progress | None = None) -> Future[list[Any]]:
        """Queue a request, loading the model first where needed; see `Worker.submit`."""
        return self._with_worker(lambda worker: worker.submit(request, progress=progress))

    def call(self, question: Callable[[Any], R]) -> Future[R]:
        """Queue a short question to the session; see `Worker.call`."""
        return self._with_worker(lambda worker: worker.call(question))

    def _with_worker(self, put: Callable[[Worker], Future[R]]) -> Future[R]:
        while True:
            try:
                return put(self._worker())
            except ModelUnloadedError:
                continue  # it ended between the two steps: a new one takes its place

    def _worker(self) -> Worker:
        with _pool.lock:
            worker = _pool.workers.get(self.spec)
            if worker is None or not worker.usable:
                worker = Worker(lambda: self.open_session(self.spec), model=self.spec.model)
                _pool.workers[self.spec] = worker
            return worker


def loaded_models() -> list[LoadSpec]:
    """Return what is loaded, or being loaded, in this process."""
    with _pool.lock:
        return [spec for spec, worker in _pool.workers.items() if worker.usable]


def unload_models(*specs: LoadSpec, drop_waiting: bool = False) -> None:
    """Unload models and free their memory. A later call loads them again.

    Args:
        *specs: What to unload; everything if none is given.
        drop_waiting: Fail the requests that wait with `ModelUnloadedError` instead of
            answering them first.
    """
    _close(specs, drop_waiting=drop_waiting, timeout_s=None)


def _close(specs: tuple[Hashable, ...], *, drop_waiting: bool, timeout_s: float | None) -> None:
    with _pool.lock:
        chosen = list(_pool.workers) if not specs else [s for s in _pool.workers if s in specs]
        workers = [_pool.workers.pop(spec) for spec in chosen]
    for worker in workers:
        worker.close(drop_waiting=drop_waiting, timeout_s=timeout_s)


def _forget() -> None:
    """Start anew in a forked child: threads do not survive a fork, nor do held locks."""
    global _pool  # noqa: PLW0603
    _pool = _Pool()


if hasattr(os, "register_at_fork"):  # everywhere but Windows, which does not fork
    os.register_at_fork(after_in_child=_forget)
atexit.register(_close, (), drop_waiting=True, timeout_s=_EXIT_TIMEOUT_S)
