"""What every kind of evaluation has: inputs, a model that answers them, figures of the answers."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Protocol

import numpy as np

from langchain_xlm.engines.recipe import Purpose
from langchain_xlm.errors import MissingDependencyError
from langchain_xlm.evaluation.examples import ExampleSet
from langchain_xlm.evaluation.intervals import Indices, Statistic
from langchain_xlm.evaluation.predictions import Prediction
from langchain_xlm.evaluation.systems import System
from langchain_xlm.models.config import LoadSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Detail", "EvaluationTask", "Input", "Measure", "Predictor", "ScoredOutputs", "need"]

EXTRA: Final = "evaluation"


@dataclass(frozen=True, slots=True)
class Input:
    """What a model is given.

    Attributes:
        text: The text.
        purpose: Which of an encoder's prompts belongs to it; others have none.
    """

    text: str
    purpose: Purpose = "document"


@dataclass(frozen=True, slots=True)
class Measure:
    """A figure of a system's answers.

    Attributes:
        key: Its name in reports, such as "chrf++".
        title: Its name for people.
        statistic: The figure over some of the examples.
        better: Whether more of it is better; None where neither is.
        unit: "%" for shares and scores of 100, "" for plain numbers.
        resampled: Whether an interval is made by drawing examples anew.
    """

    key: str
    title: str
    statistic: Statistic
    better: bool | None = True
    unit: str = ""
    resampled: bool = True


@dataclass(frozen=True)
class Detail:
    """What a system's figures do not show by themselves, each part where a task has it.

    Attributes:
        labels: Names of the rows and columns of `confusion`.
        confusion: How many texts of each label (row) were given each label (column).
        calibration: For each bin of confidence: its mean, the share that is right, the count.
        similarity: Cosines of left sides (rows) with right sides (columns) of some pairs.
        notes: Further figures by name.
    """

    labels: tuple[str, ...] = ()
    confusion: tuple[tuple[int, ...], ...] = ()
    calibration: tuple[tuple[float, float, int], ...] = ()
    similarity: tuple[tuple[float, ...], ...] = ()
    notes: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class ScoredOutputs:
    """The figures of one system's answers.

    Attributes:
        measures: The figures, the one that decides first.
        outputs: The answers in words, one for each example, for the best and the worst.
        scores: What the best and the worst are chosen by, `(examples,)`.
        detail: What the figures do not show.
        signatures: How each figure was computed, by its key.
    """

    measures: tuple[Measure, ...]
    outputs: tuple[str, ...]
    scores: NDArray[np.float64]
    detail: Detail = field(default_factory=Detail)
    signatures: Mapping[str, str] = field(default_factory=dict)


class Predictor(Protocol):
    """A system that answers."""

    def predict(self, inputs: Sequence[Input]) -> list[Prediction]:
        """Answer some inputs, loading the model first where needed."""


class EvaluationTask(Protocol):
    """A kind of evaluation with its settings; frozen, so that it can name its predictions."""

    @property
    def name(self) -> str:
        """What reports call it."""

    @property
    def chunk(self) -> int:
        """How many inputs are answered at a time."""

    def identity(self) -> dict[str, Any]:
        """Return what bears on predictions besides the system and the data, as JSON values."""

    def inputs(self, data: ExampleSet) -> list[Input]:
        """Return what a model is given for these examples."""

    def spec(self, system: System) -> LoadSpec:
        """Return what a system loads for this task."""

    def open(self, system: System) -> Predictor:
        """Return a system ready to answer; nothing is loaded yet."""

    def baselines(self, data: ExampleSet) -> dict[str, list[Prediction]]:
        """Return the answers of systems without a model, by name."""

    def score(self, data: ExampleSet, predictions: Sequence[Prediction]) -> ScoredOutputs:
        """Take the figures of answers, one for each input."""


def need(package: str, *, needed_for: str) -> None:
    """Refuse early where a package of the extra is missing.

    Args:
        package: Its name to import.
        needed_for: What cannot be done without it.

    Raises:
        MissingDependencyError: It is not installed.
    """
    from importlib.util import find_spec

    if find_spec(package) is None:
        raise MissingDependencyError(package, needed_for=needed_for, extra=EXTRA)


def mean_of(values: NDArray[np.float64], *, scale: float = 1.0) -> Statistic:
    """Make a figure of a value for each example: their mean, those without one left out.

    Args:
        values: `(examples,)`; NaN for examples without a value.
        scale: The mean is multiplied by it.

    Returns:
        The figure.
    """

    def statistic(indices: Indices) -> float:
        chosen = values[indices]
        known = chosen[~np.isnan(chosen)]
        return float(known.mean()) * scale if len(known) else float("nan")

    return statistic
