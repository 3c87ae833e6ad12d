"""LexRank and MMR on vectors whose geometry is known."""

from __future__ import annotations

import numpy as np
import pytest

import langchain_xlm.engines.centrality as centrality
from langchain_xlm.engines.centrality import choose_diverse, lexrank, similarity_floor


def unit(rows: list[list[float]]) -> np.ndarray:
    vectors = np.asarray(rows, dtype=np.float32)
    return vectors / np.linalg.norm(vectors, axis=1, keepdims=True)


@pytest.fixture
def two_topics() -> np.ndarray:
    """Three sentences around one direction (the second in their middle), two around another."""
    return unit([[1, 0.4, 0], [1, 0.2, 0], [1, 0, 0], [0, 0.1, 1], [0.1, 0, 1]])


def random_vectors(count: int, *, seed: int = 0) -> np.ndarray:
    return unit(np.random.default_rng(seed).normal(size=(count, 16)).tolist())


def test_scores_are_a_distribution(two_topics: np.ndarray) -> None:
    scores = lexrank(two_topics)
    assert scores.sum() == pytest.approx(1.0)
    assert (scores > 0).all()


def test_the_middle_of_the_greater_topic_is_most_central(two_topics: np.ndarray) -> None:
    scores = lexrank(two_topics)
    assert int(scores.argmax()) == 1
    assert scores[:3].min() > scores[3:].max()


def test_it_is_the_stationary_distribution_of_the_walk() -> None:
    vectors = random_vectors(30)
    damping = 0.15
    weights = np.clip(vectors @ vectors.T, 0, 1).astype(np.float64)
    walk = damping / 30 + (1 - damping) * weights / weights.sum(axis=1, keepdims=True)
    values, left = np.linalg.eig(walk.T)
    expected = np.real(left[:, np.argmax(np.real(values))])
    expected /= expected.sum()
    np.testing.assert_allclose(lexrank(vectors, tolerance=1e-12), expected, atol=1e-6)


def test_threshold_counts_neighbours_evenly() -> None:
    vectors = unit([[1, 0], [0.9, 0.3], [0.8, 0.6], [-0.2, 1]])
    scores = lexrank(vectors, threshold=0.85, damping=0.0, tolerance=1e-12)
    # Neighbours at 0.85 or more, with oneself: 2, 3, 2, 1. Without damping scores are degrees.
    np.testing.assert_allclose(scores, np.array([2, 3, 2, 1]) / 8, atol=1e-6)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    vectors = random_vectors(50)
    whole = lexrank(vectors)
    monkeypatch.setattr(centrality, "_ROWS", 7)
    np.testing.assert_allclose(lexrank(vectors), whole, atol=1e-9)
    np.testing.assert_allclose(lexrank(vectors, threshold=0.2).sum(), 1.0)


def test_opposite_sentences_have_no_negative_weight() -> None:
    vectors = unit([[1, 0], [-1, 0.01], [1, 0.1], [-1, -0.1]])
    scores = lexrank(vectors)
    assert np.isfinite(scores).all()
    assert (scores > 0).all()


@pytest.mark.parametrize("count", [0, 1, 2])
def test_few_sentences(count: int) -> None:
    vectors = random_vectors(max(count, 1))[:count]
    scores = lexrank(vectors)
    np.testing.assert_allclose(scores, np.full(count, 1 / count) if count else [])
    assert choose_diverse(vectors, scores) == list(range(count))


def test_equal_sentences_tie_and_the_first_wins() -> None:
    vectors = np.repeat(random_vectors(1), 5, axis=0)
    scores = lexrank(vectors)
    np.testing.assert_allclose(scores, 0.2)
    assert choose_diverse(vectors, scores, max_sentences=2) == [0, 1]


def test_a_repetition_is_chosen_after_the_other_topic(two_topics: np.ndarray) -> None:
    scores = lexrank(two_topics)
    alone = choose_diverse(two_topics, scores, max_sentences=2, trade_off=1.0)
    diverse = choose_diverse(two_topics, scores, max_sentences=2)
    assert set(alone) <= {0, 1, 2}
    assert diverse[0] == 1
    assert diverse[1] in {3, 4}


def test_a_common_level_of_all_cosines_does_not_matter(two_topics: np.ndarray) -> None:
    """Encoders whose cosines start at 0.8 choose as those whose cosines start at 0."""
    lifted = unit(np.hstack([two_topics, np.full((5, 1), 2.0)]).tolist())
    assert similarity_floor(lifted) > 0.7
    scores, lifted_scores = lexrank(two_topics), lexrank(lifted)
    assert np.argsort(scores).tolist() == np.argsort(lifted_scores).tolist()
    assert choose_diverse(lifted, lifted_scores, max_sentences=2)[1] in {3, 4}


def test_length_limits() -> None:
    vectors = random_vectors(4)
    relevance = np.array([4.0, 3.0, 2.0, 1.0])
    chosen = choose_diverse(vectors, relevance, lengths=[10, 8, 5, 2], max_length=15, trade_off=1.0)
    assert chosen == [0, 2]  # 8 no longer fits behind 10, 5 does, then nothing is left
    assert choose_diverse(vectors, relevance, lengths=[9] * 4, max_length=8) == []
    assert choose_diverse(vectors, relevance, max_sentences=1, trade_off=1.0) == [0]


def test_hundreds_are_quick_and_repeatable() -> None:
    vectors = random_vectors(800, seed=3)
    first = choose_diverse(vectors, lexrank(vectors), max_sentences=10)
    assert first == choose_diverse(vectors, lexrank(vectors), max_sentences=10)
    assert len(set(first)) == 10
