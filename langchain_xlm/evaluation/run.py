"""`evaluate`: examples in, a report out."""

from __future__ import annotations

import itertools
import json
import math
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, cast

import numpy as np

from langchain_xlm.errors import ConfigurationError
from langchain_xlm.evaluation.cost import Budget, cpu_name, measure_cost
from langchain_xlm.evaluation.examples import ExampleSet
from langchain_xlm.evaluation.intervals import RESAMPLES, Resampling, interval, paired_p_value
from langchain_xlm.evaluation.predictions import FolderLock, Prediction, PredictionFile
from langchain_xlm.evaluation.report import (
    Calibration,
    Comparison,
    Confusion,
    Cost,
    DataAccount,
    Figure,
    GroupFigures,
    Machine,
    Report,
    Shown,
    SystemReport,
)
from langchain_xlm.evaluation.systems import System
from langchain_xlm.evaluation.tasks import EvaluationTask, Input, Measure, ScoredOutputs
from langchain_xlm.models.files import checkpoint_fingerprint
from langchain_xlm.runtime.pool import unload_models

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["Options", "Progress", "evaluate"]

Progress = Callable[[str, int, int], None]
"""Called with what is being done, how much of it is done, and how much there is."""

_PACKAGES: Final = (
    "langchain-xlm",
    "torch",
    "transformers",
    "bitsandbytes",
    "sacrebleu",
    "rouge-score",
    "scikit-learn",
    "scipy",
    "numpy",
)
_REASONS: Final = 5


@dataclass(frozen=True, kw_only=True)
class Options:
    """How an evaluation goes, whatever its task.

    Attributes:
        resamples: Draws of the bootstrap; 0 makes no intervals.
        seed: Seed of the draws.
        shown: How many of the best and of the worst examples the report holds; 0 keeps every
            text out of it.
        cost: How long costs may be measured; None does not measure them.
    """

    resamples: int = RESAMPLES
    seed: int = 0
    shown: int = 5
    cost: Budget | None = field(default_factory=Budget)


@dataclass(frozen=True)
class _Result:
    """One system's part, with the spread of its figures for comparisons."""

    report: SystemReport
    spread: dict[str, NDArray[np.float64]]


def evaluate(
    task: EvaluationTask,
    data: ExampleSet,
    systems: Sequence[System] = (System(),),
    *,
    output: Path | None = None,
    options: Options | None = None,
    progress: Progress | None = None,
) -> Report:
    """Measure how good systems are at a task, and what they cost.

    Predictions are kept in the output folder as they are made: a run that was stopped or killed
    goes on from there when it is started again, and finds what it would have found in one go.

    Args:
        task: What to evaluate, with its settings.
        data: The examples.
        systems: What to compare.
        output: Folder for predictions, costs, `report.json` and `report.html`; None writes
            nothing.
        options: How to go about it.
        progress: Told how far the run is.

    Returns:
        The report.

    Raises:
        ConfigurationError: There is no system.
    """
    if not systems:
        raise ConfigurationError("There is no system to evaluate: give at least one.")
    options = options or Options()
    inputs = task.inputs(data)
    lock = nullcontext() if output is None else FolderLock(output)
    with lock:
        results = [
            _evaluate_system(task, data, inputs, system, output, options, progress)
            for system in systems
        ]
        for name, predictions in task.baselines(data).items():
            results.append(_judge(task, data, predictions, options, name=name))
        report = Report(
            task=task.name,
            settings=_plain(asdict(cast("Any", task))),
            data=_account(data),
            resamples=options.resamples,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=_machine(),
            systems=tuple(result.report for result in results),
            comparisons=tuple(_compare(results)),
        )
        if output is not None:
            from langchain_xlm.evaluation.page import write_page

            report.write_json(output / "report.json")
            write_page(report, output / "report.html")
    return report


def _evaluate_system(
    task: EvaluationTask,
    data: ExampleSet,
    inputs: Sequence[Input],
    system: System,
    output: Path | None,
    options: Options,
    progress: Progress | None,
) -> _Result:
    fingerprint = checkpoint_fingerprint(task.spec(system))
    identity = {
        "task": task.name,
        "settings": task.identity(),
        "system": system.identity(),
        "checkpoint": fingerprint,
        "data": data.fingerprint,
        "version": _version("langchain-xlm"),
    }
    kept = None if output is None else PredictionFile(output / "predictions", system.name, identity)
    predictions = _predict(task, system, inputs, kept, progress)
    # One system at a time in memory, and none while costs are measured.
    unload_models(task.spec(system))
    cost = None
    if options.cost is not None:
        if progress is not None:
            progress(f"{system.name}: cost", 0, 1)
        cost = _cost(task, system, inputs, options.cost, kept)
        if progress is not None:
            progress(f"{system.name}: cost", 1, 1)
    result = _judge(task, data, predictions, options, name=system.name)
    described = result.report.model_copy(
        update={
            "model": system.model,
            "precision": system.precision,
            "device": system.device,
            "fingerprint": fingerprint,
            "cost": cost,
        }
    )
    return _Result(described, result.spread)


def _predict(
    task: EvaluationTask,
    system: System,
    inputs: Sequence[Input],
    kept: PredictionFile | None,
    progress: Progress | None,
) -> list[Prediction]:
    done = [] if kept is None else kept.read(chunk=task.chunk, inputs=len(inputs))
    if progress is not None:
        progress(system.name, len(done), len(inputs))
    predictor = task.open(system)
    while len(done) < len(inputs):
        made = predictor.predict(inputs[len(done) : len(done) + task.chunk])
        if kept is not None:
            kept.add(made)
        done += made
        if progress is not None:
            progress(system.name, len(done), len(inputs))
    return done


def _cost(
    task: EvaluationTask,
    system: System,
    inputs: Sequence[Input],
    budget: Budget,
    kept: PredictionFile | None,
) -> Cost:
    """Measure what a system costs, or take what an earlier run has measured."""
    path = None if kept is None else kept.path.with_suffix(".cost.json")
    if path is not None and path.exists():
        return Cost.model_validate_json(path.read_text(encoding="utf-8"))
    cost = Cost(**measure_cost(task, system, inputs, budget))
    if path is not None:
        unfinished = path.with_suffix(".unfinished")
        unfinished.write_text(cost.model_dump_json(), encoding="utf-8")
        unfinished.replace(path)
    return cost


def _judge(
    task: EvaluationTask,
    data: ExampleSet,
    predictions: Sequence[Prediction],
    options: Options,
    *,
    name: str,
) -> _Result:
    scored = task.score(data, predictions)
    everything = np.arange(len(data))
    figures, spread = _figures(scored, everything, options)
    groups = data.groups
    parts = []
    for group, places in groups.items() if len(groups) > 1 else ():
        own, _ = _figures(scored, np.array(places), options)
        parts.append(GroupFigures(group=group, examples=len(places), figures=own))
    reasons = [p["failure"] for p in predictions if "failure" in p]
    detail = scored.detail
    best, worst = _extremes(data, scored, options.shown)
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
        failures=tuple(dict.fromkeys(reasons))[:_REASONS] if options.shown else (),
        best=best,
        worst=worst,
    )
    return _Result(report, spread)


def _figures(
    scored: ScoredOutputs, places: NDArray[np.intp], options: Options
) -> tuple[tuple[Figure, ...], dict[str, NDArray[np.float64]]]:
    """Take every figure over some examples, with its interval."""
    figures, spreads = [], {}
    resampling = Resampling(len(places), options.resamples, options.seed)
    for measure in scored.measures:
        low = high = None
        if measure.resampled and options.resamples:

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


def _compare(results: Sequence[_Result]) -> list[Comparison]:
    """Compare each two systems by every figure that was drawn, the deciding one first."""
    pairs = list(itertools.combinations(results, 2))
    keys = [figure.key for figure in results[0].report.figures]
    found = [_difference(key, *pair) for key in keys for pair in pairs]
    return [comparison for comparison in found if comparison is not None]


def _difference(key: str, first: _Result, second: _Result) -> Comparison | None:
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


def _account(data: ExampleSet) -> DataAccount:
    return DataAccount(
        files=data.files,
        rows=data.rows,
        skipped=dict(data.skipped),
        examples=len(data),
        corpus=len(data.corpus),
        limit=data.limit,
        seed=data.seed,
        fingerprint=data.fingerprint,
    )


def _machine() -> Machine:
    import psutil

    return Machine(
        system=f"{platform.system()} {platform.machine()}, {cpu_name()}",
        cores=os.cpu_count() or 1,
        memory_bytes=int(psutil.virtual_memory().total),
        versions={name: found for name in _PACKAGES if (found := _version(name))},
    )


def _version(package: str) -> str:
    try:
        return version(package)
    except PackageNotFoundError:
        return ""


def _finite(value: float | None) -> float | None:
    return None if value is None or not math.isfinite(value) else float(value)


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Bring settings to JSON values and back, so that a report equals itself once read."""
    found: dict[str, Any] = json.loads(json.dumps(settings, default=dict))
    return found
