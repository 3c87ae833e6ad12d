"""`evaluate`: examples in, a report out."""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any, Final, cast

from langchain_xlm.errors import ConfigurationError
from langchain_xlm.evaluation.cost import Budget, cpu_name, measure_cost
from langchain_xlm.evaluation.examples import ExampleSet
from langchain_xlm.evaluation.judging import Judged, Rules, compare, judge
from langchain_xlm.evaluation.predictions import FolderLock, Prediction, PredictionFile
from langchain_xlm.evaluation.report import Cost, DataAccount, Machine, Report
from langchain_xlm.evaluation.systems import System
from langchain_xlm.evaluation.tasks import EvaluationTask, Input
from langchain_xlm.models.files import checkpoint_fingerprint
from langchain_xlm.runtime.pool import unload_models

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


@dataclass(frozen=True, kw_only=True)
class Options(Rules):
    """How an evaluation goes, whatever its task: how it is judged, and what is measured.

    Attributes:
        cost: How long costs may be measured; None does not measure them.
    """

    cost: Budget | None = field(default_factory=Budget)


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
            results.append(judge(task, data, predictions, options, name=name))
        report = Report(
            task=task.name,
            settings=_plain(asdict(cast("Any", task))),
            data=_account(data),
            resamples=options.resamples,
            created=datetime.now(UTC).isoformat(timespec="seconds"),
            machine=_machine(),
            systems=tuple(result.report for result in results),
            comparisons=tuple(compare(results)),
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
) -> Judged:
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
    result = judge(task, data, predictions, options, name=system.name)
    described = result.report.model_copy(
        update={
            "model": system.model,
            "precision": system.precision,
            "device": system.device,
            "fingerprint": fingerprint,
            "cost": cost,
        }
    )
    return Judged(described, result.spread)


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


def _plain(settings: dict[str, Any]) -> dict[str, Any]:
    """Bring settings to JSON values and back, so that a report equals itself once read."""
    found: dict[str, Any] = json.loads(json.dumps(settings, default=dict))
    return found
