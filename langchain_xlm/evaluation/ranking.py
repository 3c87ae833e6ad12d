"""What was found at the top, with ties counted as what a random order of the tied would give."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

__all__ = ["TIE", "chance_of_top", "isotropy", "ndcg", "recall"]

TIE = 1e-6
"""Cosines nearer than this are tied: it is about what rounding does to float32."""

Matrix = NDArray[np.float32]


def chance_of_top(scores: Matrix) -> NDArray[np.float64]:
    """Tell how likely the right candidate comes first when ties are broken at random.

    Args:
        scores: `(queries, candidates)`; the right candidate of query `i` is `i`.

    Returns:
        1 for the best alone, 1/k as one of k tied best, 0 behind another, `(queries,)`.
    """
    right = np.diagonal(scores)[:, None]
    better = (scores > right + TIE).any(axis=1)
    tied = (np.abs(scores - right) <= TIE).sum(axis=1)
    return np.where(better, 0.0, 1 / tied)


def recall(scores: Matrix, relevant: Sequence[Sequence[int]], *, top: int) -> NDArray[np.float64]:
    """Return the share of the relevant documents among the first, ties broken at random.

    Args:
        scores: `(queries, documents)`.
        relevant: The places of each query's relevant documents.
        top: How many documents are looked at.

    Returns:
        Expected recall, `(queries,)`, 0 to 1.
    """
    found = np.zeros(len(scores))
    for place, own in enumerate(relevant):
        row = scores[place]
        chances = []
        for document in own:
            better = int((row > row[document] + TIE).sum())
            tied = int((np.abs(row - row[document]) <= TIE).sum())
            chances.append(min(max((top - better) / tied, 0.0), 1.0))
        found[place] = np.mean(chances)
    return found


def ndcg(
    scores: Matrix, grades: Sequence[dict[int, float]], *, top: int = 10
) -> NDArray[np.float64]:
    """Return the discounted gain of each query's first documents, of the best possible.

    Args:
        scores: `(queries, documents)`.
        grades: For each query the grades of its relevant documents by place.
        top: How many documents are looked at.

    Returns:
        nDCG, `(queries,)`, 0 to 1, averaged over the orders of tied documents.

    Source:
        scikit-learn's `ndcg_score`, after McSherry and Najork 2008.
    """
    from sklearn.metrics import ndcg_score

    found = np.zeros(len(scores))
    for place, own in enumerate(grades):
        truth = np.zeros(scores.shape[1])
        for document, grade in own.items():
            truth[document] = grade
        # scikit-learn ties only what is equal, so that near cosines are made so.
        rounded = np.round(scores[place].astype(np.float64) / TIE) * TIE
        found[place] = ndcg_score(truth[None], rounded[None], k=top)
    return found


def isotropy(vectors: Matrix) -> float:
    """Tell how evenly vectors use all directions: near 0 in a narrow cone, 1 in all alike.

    Args:
        vectors: `(texts, width)`.

    Returns:
        From 0 to 1.

    Source:
        Mu and Viswanath 2018, section 2.2, https://arxiv.org/abs/1702.01417: the least over the
        greatest partition function, over the eigenvectors of the second moments.
    """
    exact = vectors.astype(np.float64)
    _, directions = np.linalg.eigh(exact.T @ exact)
    partition = np.exp(exact @ directions).sum(axis=0)
    return float(partition.min() / partition.max())
