"""Evaluating sentiment: which label, and whether the scores mean what they say."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final

import numpy as np

from langchain_xlm.engines.classifier import Classifier
from langchain_xlm.engines.labels import SENTIMENTS, UNKNOWN_MEANING, read_labels
from langchain_xlm.errors import ConfigurationError, InputError
from langchain_xlm.evaluation.examples import ExampleSet
from langchain_xlm.evaluation.intervals import Indices, Statistic
from langchain_xlm.evaluation.predictions import Prediction
from langchain_xlm.evaluation.systems import System
from langchain_xlm.evaluation.tasks import Detail, Input, Measure, ScoredOutputs, mean_of
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.tools.sentiment import XLMSentimentTool

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SentimentTask", "calibration_bins", "expected_calibration_error"]

BINS: Final = 15
_NONE: Final = "(none)"


@dataclass(frozen=True, kw_only=True)
class SentimentTask:
    """Labels against those that people gave.

    Attributes:
        label_meanings: What labels in the files mean, where they do not say it, such as
            `{"0": "negative", "1": "positive"}`.
        model_label_meanings: The same for the labels of the models.
        chunk: How many texts are judged at a time.
    """

    label_meanings: Mapping[str, str] = field(default_factory=dict)
    model_label_meanings: Mapping[str, str] = field(default_factory=dict)
    chunk: int = 128
    name: str = "sentiment"

    def identity(self) -> dict[str, Any]:
        """Return how labels are read."""
        return {"model_label_meanings": dict(self.model_label_meanings)}

    def inputs(self, data: ExampleSet) -> list[Input]:
        """Return the texts, once it is clear what their labels mean."""
        self._truth(data)
        return [Input(example.text) for example in data.examples]

    def spec(self, system: System) -> LoadSpec:
        """Return the classifier of a system."""
        return self._tool(system).load_spec("classifier")

    def open(self, system: System) -> _Judge:
        """Return a judge; nothing is loaded yet."""
        return _Judge(self._tool(system))

    def baselines(self, data: ExampleSet) -> dict[str, list[Prediction]]:
        """Return the most frequent label for every text."""
        truth = self._truth(data)
        most = max(sorted(set(truth)), key=truth.count)
        return {f"always {most}": [{"scores": {most: 1.0}} for _ in truth]}

    def score(self, data: ExampleSet, predictions: Sequence[Prediction]) -> ScoredOutputs:
        """Compare labels with the true ones.

        Args:
            data: The examples.
            predictions: The scores of each text's labels.

        Returns:
            Macro-F1 over the labels of the files, accuracy and calibration error, with the
            confusion matrix. A text that could not be judged counts as wrong.

        Raises:
            ConfigurationError: The files have a label that the model cannot give.
        """
        truth = np.array(self._truth(data))
        given, confidence = _decisions(predictions)
        self._check(data, truth, predictions)
        labels = _ordered(set(truth))
        right = (given == truth).astype(np.float64)
        everything = [*labels, *_ordered(set(given) - set(labels))]
        counts = Counter(zip(truth.tolist(), given.tolist(), strict=True))
        bins = calibration_bins(confidence, right)
        return ScoredOutputs(
            (
                Measure("macro_f1", "Macro-F1", _macro_f1(truth, given, labels), True, "%"),
                Measure("accuracy", "Accuracy", mean_of(right, scale=100), True, "%"),
                Measure("ece", "Calibration error", _ece(confidence, right), False, "%"),
            ),
            tuple(
                f"{label} ({share:.2f})"
                for label, share in zip(given.tolist(), confidence, strict=True)
            ),
            np.where(right == 1, confidence, -confidence),
            Detail(
                labels=tuple(everything),
                confusion=tuple(
                    tuple(counts[one, other] for other in everything) for one in everything
                ),
                calibration=bins,
            ),
            {
                "macro_f1": f"as scikit-learn|labels {', '.join(labels)}",
                "ece": f"{BINS} bins of equal width",
            },
        )

    def _tool(self, system: System) -> XLMSentimentTool:
        return XLMSentimentTool(
            **system.fields(), label_meanings=dict(self.model_label_meanings) or None
        )

    def _truth(self, data: ExampleSet) -> list[str]:
        labels = [example.label or "" for example in data.examples]
        names = list(dict.fromkeys(labels))
        reading = read_labels(names, model="the data", meanings=self.label_meanings or None)
        if UNKNOWN_MEANING in reading.flags:
            raise ConfigurationError(
                f"The labels {', '.join(sorted(names))} do not say what they mean ("
                f"{data.examples[0].origin} has {labels[0]!r}). Say it with label_meanings, such"
                f" as {names[0]}=negative."
            )
        read_as = dict(zip(reading.names, reading.read_as, strict=True))
        if len(names) == 1:  # one label alone is read by its own name
            read_as = {
                names[0]: read_labels([names[0], "negative", "positive"], model="the data").read_as[
                    0
                ]
            }
        return [read_as[label] for label in labels]

    def _check(
        self, data: ExampleSet, truth: NDArray[np.str_], predictions: Sequence[Prediction]
    ) -> None:
        known = {label for prediction in predictions for label in prediction.get("scores", ())}
        if len(known) < 2:  # a baseline
            return
        for example, label in zip(data.examples, truth.tolist(), strict=True):
            if label not in known:
                raise ConfigurationError(
                    f"{example.origin} has the label {example.label!r}, but the model gives only"
                    f" {', '.join(sorted(known))}. Say what the labels mean with label_meanings"
                    " (those of the files) or model_label_meanings (those of the model)."
                )


class _Judge:
    """A system that judges sentiment."""

    def __init__(self, tool: XLMSentimentTool) -> None:
        self._tool = tool
        self._classifier = Classifier(tool.load_spec("classifier"))

    def predict(self, inputs: Sequence[Input]) -> list[Prediction]:
        """Judge texts; one that cannot be judged gets no scores and a reason."""
        texts = [each.text for each in inputs]
        try:
            return self._scores(texts)
        except InputError:
            return [self._alone(text) for text in texts]

    def _alone(self, text: str) -> Prediction:
        try:
            return self._scores([text])[0]
        except InputError as error:
            return {"scores": {}, "failure": str(error)}

    def _scores(self, texts: list[str]) -> list[Prediction]:
        model = self._tool.model
        info = run_flow(self._classifier.info(), model=model)
        reading = read_labels(info.labels, model=model, meanings=self._tool.label_meanings)
        found = run_flow(self._classifier.classify(texts), model=model)
        return [
            {"scores": reading.gather(each.scores, exclusive=not info.multi_label)}
            for each in found
        ]


def calibration_bins(
    confidence: NDArray[np.float64], right: NDArray[np.float64]
) -> tuple[tuple[float, float, int], ...]:
    """Sort decisions by their confidence into 15 bins of equal width.

    Args:
        confidence: Score of the label given, 0 to 1, `(texts,)`.
        right: 1 where it is the true one, else 0, `(texts,)`.

    Returns:
        Mean confidence, share that is right and number of texts of each bin that has any.
    """
    places = np.minimum((confidence * BINS).astype(int), BINS - 1)
    return tuple(
        (float(confidence[own].mean()), float(right[own].mean()), int(own.sum()))
        for number in range(BINS)
        if (own := places == number).any()
    )


def expected_calibration_error(
    confidence: NDArray[np.float64], right: NDArray[np.float64]
) -> float:
    """Return how far confidence is from the share that is right, on average over texts.

    Args:
        confidence: Score of the label given, 0 to 1, `(texts,)`.
        right: 1 where it is the true one, else 0, `(texts,)`.

    Returns:
        From 0 (confidence is the share) to 1.

    Source:
        Guo et al. 2017, section 2, https://arxiv.org/abs/1706.04599
    """
    bins = calibration_bins(confidence, right)
    return sum(abs(mean - share) * count for mean, share, count in bins) / len(confidence)


def _decisions(
    predictions: Sequence[Prediction],
) -> tuple[NDArray[np.str_], NDArray[np.float64]]:
    given, confidence = [], []
    for prediction in predictions:
        scores = prediction["scores"]
        label = max(scores, key=scores.__getitem__) if scores else _NONE
        given.append(label)
        confidence.append(scores.get(label, 0.0))
    return np.array(given), np.array(confidence, dtype=np.float64)


def _ordered(labels: set[str]) -> list[str]:
    known = [label for label in SENTIMENTS if label in labels]
    return [*known, *sorted(labels - set(known))]


def _macro_f1(truth: NDArray[np.str_], given: NDArray[np.str_], labels: Sequence[str]) -> Statistic:
    """Average F1 over labels from counts, which is what a thousand draws have time for."""
    hits = np.array([(truth == label) & (given == label) for label in labels])
    actual = np.array([truth == label for label in labels])
    claimed = np.array([given == label for label in labels])

    def statistic(indices: Indices) -> float:
        both = 2 * hits[:, indices].sum(axis=1)
        total = actual[:, indices].sum(axis=1) + claimed[:, indices].sum(axis=1)
        return float(100 * np.mean(both / np.maximum(total, 1)))

    return statistic


def _ece(confidence: NDArray[np.float64], right: NDArray[np.float64]) -> Statistic:
    def statistic(indices: Indices) -> float:
        return 100 * expected_calibration_error(confidence[indices], right[indices])

    return statistic
