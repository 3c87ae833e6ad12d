"""Which sentences stand for a document, from their vectors alone.

Centrality says how much of the document a sentence is about; redundancy keeps two sentences
that say the same from both being chosen.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import TypeAlias

import numpy as np
import numpy.typing as npt

Vectors: TypeAlias = npt.NDArray[np.float32]
Scores: TypeAlias = npt.NDArray[np.float64]

# Rows of the similarity matrix that are held at a time: 2048 x 10,000 sentences are 80 MB.
_ROWS = 2048


def similarity_floor(vectors: Vectors) -> float:
    """Find the cosine from which the sentences of a document begin to be alike.

    Some encoders (the E5 family, for one) give cosines between 0.7 and 1 even for sentences
    that have nothing in common. Similarity is therefore counted from the least alike pair of
    the document on, or from 0 if that pair's cosine is below: opposite is not less alike than
    unrelated.

    Args:
        vectors: One row of length 1 for each sentence, `(sentences, width)`.

    Returns:
        The least cosine of two different sentences, within 0 and 1; 0 for fewer than three
        sentences, which have nothing to be compared with.
    """
    if len(vectors) < 3:
        return 0.0
    least = min(float(np.min(vectors[rows] @ vectors.T)) for rows in _row_blocks(len(vectors)))
    return min(max(least, 0.0), 1.0)


def rescale(cosines: npt.NDArray[np.float32], floor: float) -> Vectors:
    """Map cosines from `floor` to 1 onto 0 to 1, and everything below onto 0.

    Args:
        cosines: Any shape.
        floor: From `similarity_floor`.

    Returns:
        Similarities of the same shape, all zero if every sentence is alike.
    """
    span = 1.0 - floor
    if span < 1e-6:
        return np.zeros_like(cosines)
    scaled: Vectors = np.clip((cosines - np.float32(floor)) / np.float32(span), 0.0, 1.0)
    return scaled


def lexrank(
    vectors: Vectors,
    *,
    threshold: float | None = None,
    damping: float = 0.15,
    tolerance: float = 1e-6,
    max_iterations: int = 100,
) -> Scores:
    """Rank sentences by how many central sentences are like them.

    The scores are the stationary distribution of a walk over the sentences that steps to a
    similar one, or, with the probability `damping`, to any. Similarity is the cosine of the
    sentences' vectors where the paper takes the cosine of their weighted words.

    Args:
        vectors: One row of length 1 for each sentence, `(sentences, width)`.
        threshold: None weights each step by the similarity (continuous LexRank); a number
            steps evenly to all sentences of at least that similarity (LexRank by degree).
        damping: Probability of a step to any sentence.
        tolerance: The iteration ends when the scores together change by less.
        max_iterations: And it ends after this many steps in any case.

    Returns:
        One score for each sentence, all above 0, with the sum 1.

    Source:
        Erkan and Radev 2004, section 3, https://arxiv.org/abs/1109.2128
    """
    count = len(vectors)
    if count == 0:
        return np.zeros(0)
    floor = similarity_floor(vectors)
    weights = _weights(vectors, floor, threshold)
    totals = np.concatenate([block.sum(axis=1, dtype=np.float64) for block in weights()])
    # Similarity is symmetric, so that without damping the sums are the answer: start there.
    scores = totals / totals.sum()
    for _ in range(max_iterations):
        share = scores / totals
        # For the same reason a row of the weights serves as a column of the transpose.
        walked = np.concatenate([block.astype(np.float64) @ share for block in weights()])
        following = damping / count + (1.0 - damping) * walked
        change = float(np.abs(following - scores).sum())
        scores = following
        if change < tolerance:
            break
    total: Scores = scores / scores.sum()
    return total


def choose_diverse(
    vectors: Vectors,
    relevance: Scores,
    *,
    lengths: Sequence[int] | None = None,
    max_sentences: int | None = None,
    max_length: int | None = None,
    trade_off: float = 0.6,
) -> list[int]:
    """Choose sentences one by one, relevant ones that do not repeat those already chosen.

    Each time the sentence with the greatest `trade_off * relevance - (1 - trade_off) *
    (similarity to the most similar chosen one)` is taken: maximal marginal relevance.
    Sentences that no longer fit into what is left of `max_length` are passed over.

    Args:
        vectors: One row of length 1 for each sentence, `(sentences, width)`.
        relevance: One value for each sentence, above 0; the greatest counts as 1.
        lengths: The length of each sentence in any unit (words, say); needed for `max_length`.
        max_sentences: How many to choose at the most; None for no limit.
        max_length: How long they may be together; None for no limit.
        trade_off: 1 looks at relevance alone, 0 at difference alone.

    Returns:
        The chosen rows, in the order of choice. Of equally good sentences the first is taken.

    Source:
        Carbonell and Goldstein 1998, https://dl.acm.org/doi/10.1145/290941.291025
    """
    count = len(vectors)
    floor = similarity_floor(vectors)
    level = relevance / relevance.max() if count else relevance
    costs = np.zeros(count) if lengths is None else np.asarray(lengths, dtype=np.float64)
    left = np.inf if max_length is None else float(max_length)
    likeness = np.zeros(count)
    untaken = np.ones(count, dtype=bool)
    chosen: list[int] = []
    while max_sentences is None or len(chosen) < max_sentences:
        fitting = untaken & (costs <= left)
        if not fitting.any():
            break
        # Rounding lets scores that are equal in exact arithmetic tie, so the first one wins.
        gain = np.round(trade_off * level - (1.0 - trade_off) * likeness, 6)
        best = int(np.argmax(np.where(fitting, gain, -np.inf)))
        chosen.append(best)
        untaken[best] = False
        left -= costs[best]
        np.maximum(likeness, rescale(vectors @ vectors[best], floor), out=likeness)
    return chosen


def _row_blocks(count: int) -> Iterator[slice]:
    for start in range(0, count, _ROWS):
        yield slice(start, start + _ROWS)


def _weights(
    vectors: Vectors, floor: float, threshold: float | None
) -> Callable[[], Iterator[Vectors]]:
    """Return a function that yields the weight matrix, `(rows, sentences)` at a time."""
    count = len(vectors)

    def block(rows: slice) -> Vectors:
        similar = rescale(vectors[rows] @ vectors.T, floor)
        if threshold is not None:
            similar = (similar >= threshold).astype(np.float32)
        # A sentence is like itself, whatever rounding says: no row is ever empty.
        lines = np.arange(similar.shape[0])
        similar[lines, rows.start + lines] = 1.0
        return similar

    if count <= _ROWS:
        whole = block(slice(0, count))
        return lambda: iter((whole,))
    return lambda: (block(rows) for rows in _row_blocks(count))
