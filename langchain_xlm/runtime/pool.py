"""The loaded models of this process, shared by configuration and held within a budget.

With a budget, a model that is to be loaded first waits for room: the models that have been idle
the longest are unloaded, and those that answer somebody are unloaded when they are idle.
"""

from __future__ import annotations

import atexit
import logging
import os
import threading
from collections.abc import Callable, Hashable, Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any, NoReturn, TypeVar

from langchain_xlm.errors import (
    ConfigurationError,
    InsufficientMemoryError,
    ModelUnloadedError,
)
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.values import bytes_of
from langchain_xlm.runtime.session import Progress, Session, Shortage
from langchain_xlm.runtime.worker import Worker

logger = logging.getLogger(__name__)

S = TypeVar("S", bound=Session)
R = TypeVar("R")

# How long the end of the interpreter waits for a batch that runs, in seconds.
_EXIT_TIMEOUT_S = 10.0
# How often a model that waits for room looks whether anybody still waits for it, in seconds.
_LOOK_S = 0.5


class _TorchMemory:
    """`models.memory`, imported when it is first needed: it imports torch."""

    def shortage_of(self, error: BaseException, /) -> Shortage | None:
        from langchain_xlm.models.memory import shortage_of

        return shortage_of(error)

    def release_memory(self) -> None:
        from langchain_xlm.models.memory import release_memory

        release_memory()


_memory = _TorchMemory()


@dataclass(slots=True)
class _Pool:
    """What is loaded.

    Attributes:
        changed: Guards the rest; told when memory comes back.
        workers: The worker that takes new requests for a spec.
        held: What each worker holds or is about to, in bytes, until its model is let go.
        specs: The spec of each worker in `held`.
        limit: The budget in bytes.
        pinned: What is never unloaded for the sake of others.
    """

    changed: threading.Condition = field(default_factory=threading.Condition)
    workers: dict[LoadSpec, Worker] = field(default_factory=dict)
    held: dict[Worker, int] = field(default_factory=dict)
    specs: dict[Worker, LoadSpec] = field(default_factory=dict)
    limit: int | None = None
    pinned: frozenset[LoadSpec] = frozenset()

    def forget(self, worker: Worker) -> None:
        with self.changed:
            self.held.pop(worker, None)
            self.specs.pop(worker, None)
            self.changed.notify_all()

    def hold(self, worker: Worker, spec: LoadSpec, needed: int, *, loaded: bool) -> None:
        """Make room for a model beside the others, unloading those that may be.

        One that is not loaded yet waits for the room. One that turns out larger than expected
        does not: two such would wait for each other.

        Raises:
            InsufficientMemoryError: It would not fit even if all that is not pinned were gone.
            ModelUnloadedError: Nobody waits for it any more.
        """
        told = False
        with self.changed:
            self.specs[worker] = spec
            while (limit := self.limit) is not None:
                others = {one: size for one, size in self.held.items() if one is not worker}
                pinned = sum(size for one, size in others.items() if self.is_pinned(one))
                if needed + pinned > limit:
                    _refuse(spec, needed, limit, pinned)
                if needed + sum(others.values()) <= limit:
                    break
                self.make_room(needed, others)
                if loaded:
                    break
                if not told and any(not one.idle for one in others):
                    logger.info("%r waits for room in the memory budget.", spec.model)
                    told = True
                worker.give_up_unwanted()
                self.changed.wait(_LOOK_S)
            self.held[worker] = needed

    def make_room(self, needed: int, others: dict[Worker, int]) -> None:
        """Ask as many models to leave as must, the longest idle first, busy ones last."""
        assert self.limit is not None
        staying = sum(size for one, size in others.items() if not one.leaving)
        for one in sorted(others, key=lambda one: (not one.idle, one.last_used)):
            if needed + staying <= self.limit:
                return
            if not one.leaving and not self.is_pinned(one):
                staying -= others[one]
                one.retire()

    def is_pinned(self, worker: Worker) -> bool:
        return self.specs.get(worker) in self.pinned


_pool = _Pool()


@dataclass(frozen=True)
class SharedModel:
    """A handle on a model that is loaded on first use and shared by equal specifications.

    Attributes:
        spec: What to load and how.
        open_session: Loads it; called on the thread that will own it.
        expected_bytes: Tells what its weights will hold, called on that thread before loading
            where there is a budget; None asks its configuration.
    """

    spec: LoadSpec
    open_session: Callable[[LoadSpec], Session]
    expected_bytes: Callable[[LoadSpec], int] | None = None

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
        pool = _pool
        with pool.changed:
            worker = pool.workers.get(self.spec)
            if worker is None or not worker.usable:
                worker = Worker(
                    lambda own: self._open(pool, own),
                    model=self.spec.model,
                    memory=_memory,
                    on_end=pool.forget,
                )
                pool.workers[self.spec] = worker
            return worker

    def _open(self, pool: _Pool, worker: Worker) -> Session:
        """Load the model when there is room for it; on its worker's thread."""
        if pool.limit is not None:
            pool.hold(worker, self.spec, self._expected(), loaded=False)
        session = self._load()
        try:
            pool.hold(worker, self.spec, session.memory_bytes, loaded=True)
        except InsufficientMemoryError:
            session.close()
            raise
        return session

    def _expected(self) -> int:
        if self.expected_bytes is not None:
            return self.expected_bytes(self.spec)
        from langchain_xlm.models.footprint import expected_bytes

        return expected_bytes(self.spec)

    def _load(self) -> Session:
        try:
            return self.open_session(self.spec)
        except Exception as error:
            shortage = _memory.shortage_of(error)
            if shortage is None:
                raise
        # Raised out here, without the error that holds what had been loaded so far.
        raise InsufficientMemoryError(
            self.spec.model,
            needed_bytes=shortage.needed_bytes,
            free_bytes=shortage.free_bytes,
            device=shortage.device,
        )


def loaded_models() -> list[LoadSpec]:
    """Return what is loaded, or being loaded, in this process.

    `memory_in_use` tells how much each model holds.
    """
    with _pool.changed:
        return [spec for spec, worker in _pool.workers.items() if worker.usable]


def memory_in_use() -> dict[LoadSpec, int]:
    """Tell what the weights of each loaded model hold.

    Returns:
        Bytes by model, on all devices together, models that are being unloaded included. What
        the disk holds, tokenizers, and what a running batch needs are not in it. A model that
        is being loaded counts with what it is expected to hold, if there is a budget.
    """
    with _pool.changed:
        sizes: dict[LoadSpec, int] = {}
        for worker, size in _pool.held.items():
            spec = _pool.specs[worker]
            sizes[spec] = sizes.get(spec, 0) + size
        return sizes


def set_memory_budget(limit: str | int | None, *, pinned: Iterable[LoadSpec] = ()) -> None:
    """Limit what the weights of all loaded models may hold together.

    A model that is to be loaded makes the models that have been idle the longest leave. One that
    answers somebody leaves once no request to it is running or waiting, and the new one waits
    until then. Each call replaces what an earlier one has set; models above a lower limit leave
    as soon as they are idle.

    Args:
        limit: Bytes, or a text such as `"6GiB"`; None for no limit, as at the start.
        pinned: Specs, such as those of `loaded_models()`, that never leave for others.
            `unload_models` unloads them all the same.

    Raises:
        ConfigurationError: The limit is not a size, or something pinned is not a `LoadSpec`.
    """
    size = None if limit is None else bytes_of(limit, what="limit")
    kept = frozenset(pinned)
    for spec in kept:
        if not isinstance(spec, LoadSpec):
            raise ConfigurationError(
                f"pinned has {spec!r}, which is no LoadSpec. Give specs such as those of"
                " loaded_models(), or tool.load_spec('seq2seq')."
            )
    with _pool.changed:
        _pool.limit, _pool.pinned = size, kept
        if size is not None:
            _pool.make_room(0, dict(_pool.held))
        _pool.changed.notify_all()


def unload_models(*specs: LoadSpec, drop_waiting: bool = False) -> None:
    """Unload models and free their memory. A later call loads them again.

    Args:
        *specs: What to unload; everything if none is given.
        drop_waiting: Fail the requests that wait with `ModelUnloadedError` instead of
            answering them first.
    """
    _close(specs, drop_waiting=drop_waiting, timeout_s=None)


def _close(specs: tuple[Hashable, ...], *, drop_waiting: bool, timeout_s: float | None) -> None:
    with _pool.changed:
        chosen = list(_pool.workers) if not specs else [s for s in _pool.workers if s in specs]
        workers = [_pool.workers.pop(spec) for spec in chosen]
    for worker in workers:
        worker.close(drop_waiting=drop_waiting, timeout_s=timeout_s)


def _refuse(spec: LoadSpec, needed: int, limit: int, pinned: int) -> NoReturn:
    beside = f", of which pinned models hold {pinned / 2**20:,.0f} MiB" if pinned else ""
    raise InsufficientMemoryError(
        spec.model,
        needed_bytes=needed,
        free_bytes=limit - pinned,
        device="the memory budget",
        advice=f"The budget is {limit / 2**20:,.0f} MiB{beside}. Raise it with set_memory_budget,"
        " or give dtype='bfloat16', quantization='8bit' or '4bit', or a smaller model.",
    )


def _forget() -> None:
    """Start anew in a forked child: threads do not survive a fork, nor do held locks."""
    global _pool  # noqa: PLW0603
    _pool = _Pool(limit=_pool.limit, pinned=_pool.pinned)


if hasattr(os, "register_at_fork"):  # everywhere but Windows, which does not fork
    os.register_at_fork(after_in_child=_forget)
atexit.register(_close, (), drop_waiting=True, timeout_s=_EXIT_TIMEOUT_S)
