"""Evaluating embeddings: translations found again, judgements of likeness, documents found."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, Literal

import numpy as np
from numpy.typing import NDArray

from langchain_xlm.engines.encoder import cosines
from langchain_xlm.engines.recipe import Purpose
from langchain_xlm.errors import ConfigurationError
from langchain_xlm.evaluation.examples import Example, ExampleSet
from langchain_xlm.evaluation.intervals import Indices, Statistic
from langchain_xlm.evaluation.predictions import Prediction
from langchain_xlm.evaluation.ranking import chance_of_top, isotropy, ndcg, recall
from langchain_xlm.evaluation.systems import System
from langchain_xlm.evaluation.tasks import Detail, Input, Measure, ScoredOutputs, mean_of, need
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.retrieval.embeddings import XLMEmbeddings

__all__ = ["EmbeddingsTask", "Kind", "query_side"]

Kind = Literal["bitext", "sts", "retrieval"]
"""Translations to find again, pairs with a score, or queries with relevant documents."""

# Pairs in the heat map: as many as a reader can tell apart.
_SHOWN: Final = 24
Vectors = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class EmbeddingsTask:
    """Vectors against what people know of the texts.

    Attributes:
        kind: "bitext" finds each text's translation among all of its group; "sts" compares
            cosines with scores; "retrieval" answers queries from a corpus.
        symmetric_prompt: Which of the checkpoint's prompts both sides of a pair get; the authors
            of E5 want "query" there. Queries and documents of "retrieval" get their own.
        chunk: How many texts are embedded at a time.
    """

    kind: Kind = "bitext"
    symmetric_prompt: Purpose = "document"
    chunk: int = 256

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is loaded."""
        need(
            {"sts": "scipy", "retrieval": "sklearn", "bitext": "numpy"}[self.kind],
            needed_for="Evaluating embeddings",
        )

    @property
    def name(self) -> str:
        """What reports call it."""
        return f"embeddings ({self.kind})"

    def identity(self) -> dict[str, Any]:
        """Return nothing: inputs carry their prompts, and data is named beside."""
        return {"symmetric_prompt": self.symmetric_prompt, "kind": self.kind}

    def inputs(self, data: ExampleSet) -> list[Input]:
        """Return each text once: equal texts get equal vectors, and ties are ties."""
        return list(self._places(data))

    def spec(self, system: System) -> LoadSpec:
        """Return the encoder of a system."""
        return XLMEmbeddings(**system.fields()).load_spec("encoder")

    def open(self, system: System) -> _Embedder:
        """Return an embedder; nothing is loaded yet."""
        return _Embedder(system)

    def baselines(self, data: ExampleSet) -> dict[str, list[Prediction]]:
        """Return none: chance is known without trying."""
        return {}

    def score(self, data: ExampleSet, predictions: Sequence[Prediction]) -> ScoredOutputs:
        """Take the figures of the kind.

        Args:
            data: The examples.
            predictions: A vector for each input.

        Returns:
            The figures.

        Raises:
            ConfigurationError: A query's relevant documents are not in the corpus.
        """
        vectors = np.stack([_vector(prediction) for prediction in predictions])
        places = self._places(data)
        if self.kind == "retrieval":
            return _score_retrieval(data, vectors, places)
        left = vectors[[places[self._side(example.text)] for example in data.examples]]
        right = vectors[[places[self._side(example.references[0])] for example in data.examples]]
        if self.kind == "sts":
            return _score_sts(data, left, right, vectors)
        return _score_bitext(data, left, right, vectors)

    def _side(self, text: str) -> Input:
        return Input(text, self.symmetric_prompt)

    def _places(self, data: ExampleSet) -> dict[Input, int]:
        texts: list[Input] = []
        for example in data.examples:
            if self.kind == "retrieval":
                texts.append(Input(example.text, "query"))
            else:
                texts += [self._side(example.text), self._side(example.references[0])]
        texts += [Input(document.text) for document in data.corpus]
        return {text: place for place, text in enumerate(dict.fromkeys(texts))}


class _Embedder:
    """A system that embeds."""

    def __init__(self, system: System) -> None:
        self._embeddings = XLMEmbeddings(**system.fields())

    def predict(self, inputs: Sequence[Input]) -> list[Prediction]:
        """Embed texts, each with the prompt of its purpose."""
        found: dict[Input, list[float]] = {}
        for purpose in ("document", "query"):
            own = [each for each in inputs if each.purpose == purpose]
            if own:
                document = purpose == "document"
                embeddings = self._embeddings if document else query_side(self._embeddings)
                vectors = embeddings.embed_documents([each.text for each in own])
                found |= zip(own, vectors, strict=True)
        return [{"vector": _packed(found[each])} for each in inputs]


def query_side(embeddings: XLMEmbeddings) -> XLMEmbeddings:
    """Return embeddings that embed many texts at once with the prompt of queries.

    Args:
        embeddings: Their model is loaded where needed, for its prompt.

    Returns:
        The same, with the one prompt in place of the other.
    """
    prompt = embeddings.query_prompt
    if prompt is None:
        prompt = embeddings.info().recipe.query_prompt
    return embeddings.model_copy(update={"document_prompt": prompt})


def _packed(vector: Sequence[float]) -> str:
    return base64.b64encode(np.array(vector, dtype="<f4").tobytes()).decode()


def _vector(prediction: Prediction) -> Vectors:
    found: Vectors = np.frombuffer(base64.b64decode(prediction["vector"]), dtype="<f4")
    return found


def _unit(vectors: Vectors) -> Vectors:
    lengths = np.maximum(np.linalg.norm(vectors, axis=1, keepdims=True), 1e-12)
    scaled: Vectors = vectors / lengths
    return scaled


def _score_bitext(
    data: ExampleSet, left: Vectors, right: Vectors, everything: Vectors
) -> ScoredOutputs:
    left, right = _unit(left), _unit(right)
    size = len(data)
    forward, backward, unrelated, margin = (np.full(size, np.nan) for _ in range(4))
    outputs = [""] * size
    for own in _pools(data):
        scores = left[own] @ right[own].T
        forward[own] = chance_of_top(scores)
        backward[own] = chance_of_top(scores.T)
        if len(own) > 1:
            unrelated[own] = (scores.sum(axis=1) - np.diagonal(scores)) / (len(own) - 1)
            others = scores.copy()
            np.fill_diagonal(others, -np.inf)
            margin[own] = np.diagonal(scores) - others.max(axis=1)
        for place, best in zip(own, scores.argmax(axis=1), strict=True):
            outputs[place] = data.examples[own[best]].references[0]
    first = _pools(data)[0][:_SHOWN]
    return ScoredOutputs(
        (
            Measure(
                "accuracy",
                "Retrieval, both ways",
                mean_of((forward + backward) / 2, scale=100),
                True,
                "%",
            ),
            Measure("accuracy_forward", "Left to right", mean_of(forward, scale=100), True, "%"),
            Measure("accuracy_backward", "Right to left", mean_of(backward, scale=100), True, "%"),
            Measure(
                "pair_cosine",
                "Cosine of pairs",
                mean_of(cosines(left, right).astype(np.float64)),
                None,
            ),
            Measure("unrelated_cosine", "Cosine of others", mean_of(unrelated), None),
            _isotropy(everything),
        ),
        tuple(outputs),
        np.nan_to_num(margin),
        Detail(similarity=_heat(left[first], right[first])),
        {"accuracy": "cosine|pool of the group|ties at random"},
    )


def _score_sts(
    data: ExampleSet, left: Vectors, right: Vectors, everything: Vectors
) -> ScoredOutputs:
    found = cosines(left, right).astype(np.float64)
    truth = np.array([example.score for example in data.examples], dtype=np.float64)
    ranks = found.argsort().argsort(), truth.argsort().argsort()
    return ScoredOutputs(
        (
            Measure("spearman", "Spearman", _correlation(found, truth, "spearmanr"), True, "%"),
            Measure("pearson", "Pearson", _correlation(found, truth, "pearsonr"), True, "%"),
            Measure("pair_cosine", "Cosine of pairs", mean_of(found), None),
            _isotropy(everything),
        ),
        tuple(f"cosine {value:.2f}" for value in found),
        -np.abs(ranks[0] - ranks[1]).astype(np.float64),
        signatures={"spearman": "scipy|cosine", "pearson": "scipy|cosine"},
    )


def _score_retrieval(data: ExampleSet, vectors: Vectors, places: dict[Input, int]) -> ScoredOutputs:
    queries = [places[Input(example.text, "query")] for example in data.examples]
    documents = [places[Input(document.text)] for document in data.corpus]
    scores = _unit(vectors[queries]) @ _unit(vectors[documents]).T
    grades = [_grades(data, example) for example in data.examples]
    relevant = [[place for place, grade in own.items() if grade > 0] for own in grades]
    gains = ndcg(scores, grades)
    measures = [Measure("ndcg@10", "nDCG@10", mean_of(gains, scale=100), True, "%")]
    for top in (1, 10, 100):
        found = recall(scores, relevant, top=top)
        measures.append(
            Measure(f"recall@{top}", f"Recall@{top}", mean_of(found, scale=100), True, "%")
        )
    return ScoredOutputs(
        (*measures, _isotropy(vectors)),
        tuple(data.corpus[best].text for best in scores.argmax(axis=1)),
        gains,
        signatures={"ndcg@10": "scikit-learn|ties averaged"},
    )


def _grades(data: ExampleSet, example: Example) -> dict[int, float]:
    known = {document.id: place for place, document in enumerate(data.corpus)}
    missing = [name for name, _ in example.relevant if name not in known]
    if missing:
        raise ConfigurationError(
            f"{example.origin} names the document {missing[0]!r}, which the corpus does not have."
        )
    return {known[name]: grade for name, grade in example.relevant}


def _pools(data: ExampleSet) -> list[list[int]]:
    """Return the places of the texts that are looked through together: those of a group."""
    found: dict[str | None, list[int]] = {}
    for place, example in enumerate(data.examples):
        found.setdefault(example.group, []).append(place)
    return list(found.values())


def _heat(left: Vectors, right: Vectors) -> tuple[tuple[float, ...], ...]:
    return tuple(tuple(round(float(value), 4) for value in row) for row in left @ right.T)


def _isotropy(vectors: Vectors) -> Measure:
    value = isotropy(_unit(vectors))
    return Measure("isotropy", "Isotropy", lambda _: value, resampled=False)


def _correlation(found: NDArray[np.float64], truth: NDArray[np.float64], name: str) -> Statistic:
    from scipy import stats

    function = getattr(stats, name)

    def statistic(indices: Indices) -> float:
        one, other = found[indices], truth[indices]
        if np.ptp(one) == 0 or np.ptp(other) == 0:  # undefined, and scipy would warn
            return float("nan")
        return float(100 * function(one, other).statistic)

    return statistic
