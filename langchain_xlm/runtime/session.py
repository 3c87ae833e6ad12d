"""What a worker asks of a model in use, and of memory."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, Protocol

from langchain_xlm.runtime.batching import Unit

__all__ = ["Memory", "NoMemory", "Progress", "Session", "Shortage"]

Progress = Callable[[Sequence[Unit[Any]]], None]


class Session(Protocol):
    """A model in use. It is opened, used and closed on the worker's thread alone."""

    @property
    def max_batch_tokens(self) -> int:
        """Budget of one batch: rows times longest row, in tokens."""

    @property
    def batch_multiple(self) -> int:
        """A batch of more rows than this has a multiple of it, as long as there are enough."""

    @property
    def memory_bytes(self) -> int:
        """What its weights hold, on all devices together."""

    def prepare(self, request: Any) -> Iterator[list[Unit[Any]]]:
        """Cut a request into rows, some at a time; what it raises fails this request alone."""

    def run(self, units: Sequence[Unit[Any]]) -> Sequence[Any]:
        """Compute one result for each row; all rows have one group."""

    def rest(self) -> None:
        """Let go of what is not worth holding while no request comes.

        Called when the session has been opened, and when none has come for a short while.
        """

    def close(self) -> None:
        """Let go of the model and free its memory."""


class Shortage(Protocol):
    """What an allocation that failed says; see `models.memory`."""

    @property
    def device(self) -> str:
        """Where it failed."""

    @property
    def needed_bytes(self) -> int | None:
        """How much it asked for, where it tells."""

    @property
    def free_bytes(self) -> int | None:
        """How much was free, where anybody tells."""


class Memory(Protocol):
    """What the worker must know of memory; the libraries that compute are none of its business."""

    def shortage_of(self, error: BaseException, /) -> Shortage | None:
        """Tell whether an error means that memory was short, keeping no reference to it."""

    def release_memory(self) -> None:
        """Give what is free back to the system."""


@dataclass(frozen=True, slots=True)
class NoMemory:
    """Where nobody tells, no error means that memory was short."""

    def shortage_of(self, error: BaseException, /) -> Shortage | None:
        """Tell nothing."""
        return None

    def release_memory(self) -> None:
        """Do nothing."""
