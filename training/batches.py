"""Token sequences of uneven length, and batches of them with little padding."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt
import torch

from training.vocabulary import CONTROL

if TYPE_CHECKING:
    from tokenizers import Tokenizer

Item = TypeVar("Item")
Tokens = npt.NDArray[np.int32]

PAD = CONTROL.index("<pad>")
END = CONTROL.index("</s>")


def shorten(tokens: Sequence[int], max_tokens: int) -> Tokens:
    """Cut a sequence to the window, keeping its end symbol."""
    if len(tokens) > max_tokens:
        tokens = [*tokens[: max_tokens - 1], END]
    return np.asarray(tokens, np.int32)


class EncodedTexts(Sequence[Tokens]):
    """Texts as tokens, in one flat array."""

    def __init__(self, tokenizer: Tokenizer, texts: list[str], max_tokens: int) -> None:
        """Tokenize.

        Args:
            tokenizer: The shared tokenizer.
            texts: The texts.
            max_tokens: The window, `<s>` and `</s>` included.
        """
        rows = []
        for first in range(0, len(texts), 20000):
            batch = tokenizer.encode_batch(texts[first : first + 20000])
            rows += [shorten(encoding.ids, max_tokens) for encoding in batch]
        self._ends = np.cumsum([0, *(len(row) for row in rows)])
        self._flat = np.concatenate(rows) if rows else np.zeros(0, np.int32)

    def __len__(self) -> int:
        """Count the texts."""
        return len(self._ends) - 1

    def __getitem__(self, index: int) -> Tokens:  # type: ignore[override]
        """Give the tokens of one text."""
        return self._flat[self._ends[index] : self._ends[index + 1]]


def pad(rows: Sequence[Tokens], device: torch.device, *, fill: int = PAD) -> torch.Tensor:
    """Lay sequences in one array, filled up on the right.

    Args:
        rows: Token sequences.
        device: Where the array goes.
        fill: What to fill up with.

    Returns:
        Tokens, `(rows, longest)`, int64.
    """
    array = np.full((len(rows), max(len(row) for row in rows)), fill, np.int64)
    for i, row in enumerate(rows):
        array[i, : len(row)] = row
    return torch.from_numpy(array).to(device)


def by_length(
    draw: Callable[[], Item],
    length: Callable[[Item], int],
    batch_tokens: int,
    chooser: random.Random,
    *,
    rows: Callable[[Item], int] = lambda _item: 1,
    pool_batches: int = 48,
) -> Iterator[list[Item]]:
    """Give batches of similar length without end.

    A pool of many batches is drawn, sorted, cut, and its batches are given in random order.

    Args:
        draw: Gives a random example.
        length: Tokens of the longest row of an example.
        batch_tokens: Tokens of a batch, padding included.
        chooser: Randomness.
        rows: Rows of an example.
        pool_batches: Batches in a pool.

    Yields:
        Batches of examples.
    """
    while True:
        pool: list[Item] = []
        tokens = 0
        while tokens < batch_tokens * pool_batches:
            pool.append(draw())
            tokens += length(pool[-1]) * rows(pool[-1])
        pool.sort(key=length)
        batches: list[list[Item]] = [[]]
        height = 0
        for item in pool:
            if batches[-1] and length(item) * (height + rows(item)) > batch_tokens:
                batches.append([])
                height = 0
            batches[-1].append(item)
            height += rows(item)
        chooser.shuffle(batches)
        yield from batches
