"""What a report says of predictions: figures with intervals, the extremes, who is better."""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from langchain_xlm.evaluation.examples import ExampleSet
from langchain_xlm.evaluation.intervals import RESAMPLES, Resampling, interval, paired_p_value
from langchain_xlm.evaluation.predictions import Prediction
from langchain_xlm.evaluation.report import (
    Calibration,
    Comparison,
    Confusion,
    Figure,
    GroupFigures,
    Shown,
    SystemReport,
)
from langchain_xlm.evaluation.tasks import EvaluationTask, Measure, ScoredOutputs

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Judged", "Rules", "compare", "judge"]

_REASONS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Rules:
    """How predictions are judged.

    Attributes:
        resamples: Draws of the bootstrap; 0 makes no intervals.
        seed: Seed of the draws.
        shown: How many of the best and of the worst examples the report holds; 0 keeps every
            text out of it.
    """

    resamples: int = RESAMPLES
    seed: int = 0
    shown: int = 5


@dataclass(frozen=True)
class Judged:
    """One system's part of a report.

    Attributes:
        report: What the report says of it.
        spread: For each figure that was drawn its values, `(resamples,)`, for comparisons.
    """

    report: SystemReport
    spread: dict[str, NDArray[np.float64]]


def judge(
    task: EvaluationTask,
    data: ExampleSet,
    predictions: Sequence[Prediction],
    rules: Rules,
    *,
    name: str,
) -> Judged:
    """Score what a system wrote.

    Args:
        task: What was to be done.
        data: The examples.
        predictions: One for each example.
        rules: How to go about it.
        name: The system's.

    Returns:
        Its part of the report.
    """
    scored = task.score(data, predictions)
    everything = np.arange(len(data))
    figures, spread = _figures(scored, everything, rules)
    groups = data.groups
    parts = []
    for group, places in groups.items() if len(groups) > 1 else ():
        own, _ = _figures(scored, np.array(places), rules)
        parts.append(GroupFigures(group=group, examples=len(places), figures=own))
    reasons = [p["failure"] for p in predictions if "failure" in p]
    detail = scored.detail
    best, worst = _extremes(data, scored, rules.shown)
    report = SystemReport(
        name=name,
        figures=figures,
        groups=tuple(parts),
        confusion=Confusion(labels=detail.labels, counts=detail.confusion)
        if detail.labels
        else None,
        calibration=tuple(
            Calibration(confidence=confidence, accuracy=accuracy, texts=texts)
            for confidence, accuracy, texts in detail.calibration
        ),
        similarity=detail.similarity,
        notes={key: _finite(value) for key, value in detail.notes.items()},
        failed=len(reasons),
        failures=tuple(dict.fromkeys(reasons))[:_REASONS] if rules.shown else (),
        best=best,
        worst=worst,
    )
    return Judged(report, spread)


def _figures(
    scored: ScoredOutputs, places: NDArray[np.intp], rules: Rules
) -> tuple[tuple[Figure, ...], dict[str, NDArray[np.float64]]]:
    """Take every figure over some examples, with its interval."""
    figures, spreads = [], {}
    resampling = Resampling(len(places), rules.resamples, rules.seed)
    for measure in scored.measures:
        low = high = None
        if measure.resampled and rules.resamples:

            def drawn(indices: NDArray[np.intp], measure: Measure = measure) -> float:
                return measure.statistic(places[indices])

            spreads[measure.key] = resampling.spread(drawn)
            low, high = interval(spreads[measure.key])
        figures.append(
            Figure(
                key=measure.key,
                title=measure.title,
                value=_finite(measure.statistic(places)),
                low=_finite(low),
                high=_finite(high),
                unit=measure.unit,
                better={True: "higher", False: "lower", None: None}[measure.better],
                signature=scored.signatures.get(measure.key),
            )
        )
    return tuple(figures), spreads


def compare(results: Sequence[Judged]) -> list[Comparison]:
    """Compare each two systems by every figure that was drawn, the deciding one first.

    Args:
        results: What was judged, at least one.

    Returns:
        The comparisons; none where nothing was drawn.
    """
    pairs = list(itertools.combinations(results, 2))
    keys = [figure.key for figure in results[0].report.figures]
    found = [_difference(key, *pair) for key in keys for pair in pairs]
    return [comparison for comparison in found if comparison is not None]


def _difference(key: str, first: Judged, second: Judged) -> Comparison | None:
    if key not in first.spread or key not in second.spread:
        return None
    one, other = first.report.figure(key).value, second.report.figure(key).value
    if one is None or other is None:
        return None
    low, high = interval(second.spread[key] - first.spread[key])
    p_value = paired_p_value(other - one, second.spread[key], first.spread[key])
    return Comparison(
        key=key,
        first=first.report.name,
        second=second.report.name,
        difference=other - one,
        low=_finite(low),
        high=_finite(high),
        p_value=_finite(p_value),
    )


def _extremes(
    data: ExampleSet, scored: ScoredOutputs, shown: int
) -> tuple[tuple[Shown, ...], tuple[Shown, ...]]:
    """Return the examples with the highest and with the lowest scores, none in both."""
    order = np.argsort(-scored.scores, kind="stable").tolist()
    count = min(shown, len(order) // 2)

    def show(place: int) -> Shown:
        example = data.examples[place]
        against = example.references[0] if example.references else example.label
        if example.relevant:
            against = ", ".join(name for name, _ in example.relevant)
        if example.score is not None:
            against = f"{against} ({example.score:g})"
        return Shown(
            origin=example.origin,
            text=example.text,
            reference=against or "",
            output=scored.outputs[place],
            score=float(scored.scores[place]),
        )

    best = tuple(show(place) for place in order[:count])
    return best, tuple(show(place) for place in order[::-1][:count])


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)
