"""Which rows run together: token-budget batches over the waiting work of several requests.

A batch is a rectangle: its cost is the number of rows times the longest row. Rows of near
lengths therefore belong together, and the budget bounds the rectangle, not the row count.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Hashable, Iterable, Sequence
from dataclasses import dataclass, field
from typing import Generic, TypeVar

P = TypeVar("P")


@dataclass(frozen=True, slots=True)
class Unit(Generic[P]):
    """One row of a batch.

    Attributes:
        payload: What the session needs to run the row; opaque here.
        tokens: Length of the row before padding, in tokens.
        group: Only rows of equal groups share a batch (a target language, say).
    """

    payload: P
    tokens: int
    group: Hashable = None


@dataclass(slots=True)
class Backlog(Generic[P]):
    """The rows of one request that wait, with their places in its answer.

    Rows of a group are kept in ascending order of length, so that the longest is taken from the
    end and its nearest neighbours follow.
    """

    tokens: int = 0
    _groups: dict[Hashable, list[tuple[int, int, Unit[P]]]] = field(default_factory=dict)
    _count: int = 0

    def __bool__(self) -> bool:
        """Tell whether any row waits."""
        return bool(self._groups)

    def add(self, units: Iterable[Unit[P]]) -> int:
        """Append rows behind those added before; their places count from the first row on.

        Args:
            units: Rows in the order of the answer.

        Returns:
            How many were added.
        """
        before = self._count
        for unit in units:
            # The negative place makes the earlier of two equally long rows leave first.
            insort(self._groups.setdefault(unit.group, []), (unit.tokens, -self._count, unit))
            self.tokens += unit.tokens
            self._count += 1
        return self._count - before

    def oldest_group(self) -> Hashable:
        """Return the group that has waited longest; the backlog must not be empty."""
        return next(iter(self._groups))

    def longest(self, group: Hashable) -> int | None:
        """Return the length of the longest waiting row of a group, or None if it has none."""
        rows = self._groups.get(group)
        return rows[-1][0] if rows else None

    def take(self, group: Hashable, *, at_most: int, tokens: int) -> list[tuple[int, Unit[P]]]:
        """Remove the longest rows of a group that are no longer than a given length.

        Args:
            group: The group to take from.
            at_most: How many rows at the most.
            tokens: The greatest length of a row, in tokens.

        Returns:
            `(place, unit)` pairs, longest first.
        """
        rows = self._groups.get(group)
        if not rows or at_most <= 0:
            return []
        # (tokens + 1,) sorts behind every row of that length and before any longer one.
        low, end = 0, len(rows)
        while low < end:
            middle = (low + end) // 2
            if rows[middle][0] <= tokens:
                low = middle + 1
            else:
                end = middle
        start = max(0, end - at_most)
        taken = rows[start:end]
        del rows[start:end]
        if not rows:
            del self._groups[group]
        self.tokens -= sum(length for length, _, _ in taken)
        return [(-place, unit) for _, place, unit in reversed(taken)]


def fill_batch(
    backlogs: Sequence[Backlog[P]], *, max_tokens: int, multiple: int = 1
) -> list[tuple[int, int, Unit[P]]]:
    """Take the next batch: led by the first backlog, filled up from all of them.

    The first backlog's oldest group and longest row set the group and the width; rows of the
    same group that are not longer fill the rectangle, those of the first backlog first. A row
    wider than the budget runs alone.

    Args:
        backlogs: Waiting rows by request, the one to be served first in front; the first must
            not be empty.
        max_tokens: The budget: rows times longest row, in tokens.
        multiple: A batch of more rows than this has a multiple of it, as long as there are enough.

    Returns:
        `(index of the backlog, place, unit)` for each row of the batch, at least one.
    """
    group = backlogs[0].oldest_group()
    width = backlogs[0].longest(group)
    assert width is not None, "the oldest group of a backlog has rows"
    room = max(1, max_tokens // max(1, width))
    if room > multiple:
        room -= room % multiple
    batch: list[tuple[int, int, Unit[P]]] = []
    for index, backlog in enumerate(backlogs):
        rows = backlog.take(group, at_most=room - len(batch), tokens=width)
        batch.extend((index, place, unit) for place, unit in rows)
        if len(batch) == room:
            break
    return batch
