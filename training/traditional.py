"""Traditional Chinese for a vocabulary that saw only simplified Chinese.

The training pairs are in simplified characters. A text in traditional ones would fall to bytes,
of which the models know nothing. Here the least used pieces give their places to traditional
spellings of Chinese pieces, and these begin, and stay, with the weights of the simplified ones:
the models read both scripts alike, and go on writing simplified characters.
"""

from __future__ import annotations

import importlib.resources
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from tokenizers import Tokenizer

from training.progress import log
from training.vocabulary import METASPACE

if TYPE_CHECKING:
    from torch import nn

    from training.corpus import Corpus, Labelled

NEVER_WRITTEN = -30.0
VARIANTS = 2


@dataclass(frozen=True)
class Widened:
    """A tokenizer with traditional pieces.

    Attributes:
        tokenizer: The tokenizer, of the same size as before.
        rows: For each new piece, its row, and the row of its simplified spelling.
    """

    tokenizer: Tokenizer
    rows: list[tuple[int, int]]

    @torch.no_grad()
    def copy_into(self, embedding: nn.Embedding, bias: torch.Tensor | None = None) -> None:
        """Give the new pieces the weights of the simplified ones.

        Args:
            embedding: The table to change.
            bias: Output bias of the pieces, which keeps the new ones from being written.
        """
        new, old = (torch.tensor(column) for column in zip(*self.rows, strict=True))
        embedding.weight[new] = embedding.weight[old]
        if bias is not None:
            bias[new] = NEVER_WRITTEN


def spellings() -> dict[str, list[str]]:
    """Read the common traditional spellings of each simplified character, from OpenCC."""
    folder = importlib.resources.files("opencc") / "dictionary"
    table = {}
    for line in (folder / "STCharacters.txt").read_text(encoding="utf-8").splitlines():
        simplified, _, written = line.partition("\t")
        others = [mark for mark in written.split()[:VARIANTS] if mark != simplified]
        if others:
            table[simplified] = others
    return table


def used(tokenizer: Tokenizer, corpus: Corpus, sentiment: dict[str, list[Labelled]]) -> np.ndarray:
    """Count how often each piece occurs in the training sentences and labelled texts."""
    counts = np.zeros(tokenizer.get_vocab_size(), np.int64)
    texts = [corpus.english]
    texts += [[text.text for text in labelled] for labelled in sentiment.values()]
    texts += [[pair.text for pair in pairs] for pairs in corpus.sentences.values()]
    for group in texts:
        for encoding in tokenizer.encode_batch(group, add_special_tokens=False):
            np.add.at(counts, encoding.ids, 1)
    return counts


def widen(tokenizer: Tokenizer, counts: np.ndarray) -> Widened:
    """Put traditional spellings in the places of the least used pieces.

    Args:
        tokenizer: The tokenizer that the models were trained with.
        counts: How often each piece occurs.

    Returns:
        The new tokenizer and the rows to copy.
    """
    state = json.loads(tokenizer.to_str())
    vocabulary: list[list[str | float]] = state["model"]["vocab"]
    known = {str(piece): row for row, (piece, _) in enumerate(vocabulary)}
    table = spellings()
    wanted: dict[str, int] = {}
    for piece, row in known.items():
        bare = piece.removeprefix(METASPACE)
        if bare in table:
            options = [piece.replace(bare, other) for other in table[bare]]
        elif any(mark in table for mark in bare):
            options = ["".join(table.get(mark, [mark])[0] for mark in piece)]
        else:
            continue
        for option in options:
            if option not in known:
                wanted.setdefault(option, row)
    needed = set(wanted.values())
    free = sorted(
        (
            row
            for piece, row in known.items()
            if len(piece.removeprefix(METASPACE)) > 1
            and not piece.startswith("<")
            and row not in needed
        ),
        key=lambda row: int(counts[row]),
    )
    rows = []
    for (piece, old), new in zip(wanted.items(), free, strict=False):
        vocabulary[new] = [piece, vocabulary[old][1]]
        rows.append((new, old))
    log("traditional", pieces=len(rows), wanted=len(wanted), most_used=int(counts[rows[-1][0]]))
    return Widened(Tokenizer.from_str(json.dumps(state)), rows)
