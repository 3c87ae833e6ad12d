"""Texts of mixed lengths for measuring speed: real sentences, lengths as in a document store."""

from __future__ import annotations

import random
from pathlib import Path

from benchmarks.__main__ import SENTENCES
from langchain_xlm.cli.demo_texts import ARTICLE, OPINIONS

QUERY = "Where does the train to the river leave on Sunday?"


def mixed_texts(count: int, *, seed: int = 0, words: float = 42.0, most: int = 330) -> list[str]:
    """Make texts of log-normal lengths, most of them short and a few near 512 tokens.

    Args:
        count: How many.
        seed: Equal seeds give equal texts.
        words: The middle length.
        most: The greatest, in words.

    Returns:
        The texts.
    """
    chance = random.Random(seed)
    pool = " ".join([ARTICLE, *OPINIONS, *SENTENCES]).split()
    texts = []
    for _ in range(count):
        length = min(most, max(3, round(words * chance.lognormvariate(0.0, 1.0))))
        start = chance.randrange(len(pool) - length)
        texts.append(" ".join(pool[start : start + length]))
    return texts


def token_counts(folder: Path, texts: list[str], *, most: int | None = 512) -> list[int]:
    """Count the tokens of each text, those that a model would cut off left out.

    Args:
        folder: Checkpoint whose tokenizer counts.
        texts: What to count.
        most: The model's limit; None counts all.

    Returns:
        Numbers of tokens, special ones included.
    """
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    counts = [len(ids) for ids in tokenizer(texts, verbose=False)["input_ids"]]
    return counts if most is None else [min(most, count) for count in counts]
