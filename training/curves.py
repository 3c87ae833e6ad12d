"""Learning curves, drawn from what the stages logged."""

from __future__ import annotations

import json
from collections import defaultdict
from pathlib import Path

import matplotlib

matplotlib.use("Agg")
from typing import TYPE_CHECKING

from matplotlib import pyplot as plt

from training.corpus import TRANSLATED

if TYPE_CHECKING:
    from matplotlib.axes import Axes

Series = dict[str, list[tuple[float, float]]]


def read(path: Path, stage: str) -> Series:
    """Read a stage's figures over its training steps.

    After a resumption or a new start, what was logged for later steps before it is left out.

    Args:
        path: The log.
        stage: Name of the stage.

    Returns:
        `(step, value)` of every figure, in order.
    """
    series: Series = defaultdict(list)
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry.pop("stage") != stage or "step" not in entry or "weights" in entry:
            continue
        step = entry.pop("step")
        for name, value in entry.items():
            if isinstance(value, int | float):
                kept = [point for point in series[name] if point[0] < step]
                series[name] = [*kept, (step, value)]
    return series


def read_directions(path: Path) -> dict[str, float]:
    """Read chrF++ on the development pairs, by direction, of the last finished translation."""
    figures: dict[str, float] = {}
    for line in path.read_text(encoding="utf-8").splitlines():
        entry = json.loads(line)
        if entry["stage"] == "translation" and entry.get("weights") == "averaged":
            figures = {name: value for name, value in entry.items() if "-" in name}
    return figures


def _draw(axes: Axes, series: Series, names: dict[str, str], title: str, unit: str) -> None:
    """Draw some figures of a stage into one picture."""
    for name, label in names.items():
        if series.get(name):
            steps, values = zip(*series[name], strict=True)
            axes.plot(steps, values, label=label, marker="." if len(steps) < 30 else None)
    axes.set_title(title)
    axes.set_xlabel("step")
    axes.set_ylabel(unit)
    axes.grid(alpha=0.3)
    if axes.lines:
        axes.legend(fontsize="small")


def run(log: Path, folder: Path) -> None:
    """Draw `encoder.png` and `translation.png`.

    Args:
        log: What the stages logged.
        folder: Where the pictures go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    series = read(log, "encoder")
    figure, axes = plt.subplots(2, 2, figsize=(11, 8), constrained_layout=True)
    _draw(axes[0, 0], series, {"loss": "all parts"}, "Distillation loss", "nats")
    _draw(axes[0, 1], series, {"cosine": "training batches"}, "Cosine to the teacher", "cosine")
    languages = {code: code for code in TRANSLATED} | {"mean": "mean"}
    _draw(axes[1, 0], series, languages, "Retrieval, development pairs", "per cent")
    polarity = {"polarity": "cross-entropy", "right": "accuracy"}
    _draw(axes[1, 1], series, polarity, "Sentiment, training batches", "nats or share")
    figure.savefig(folder / "encoder.png", dpi=80)
    plt.close(figure)

    series = read(log, "translation")
    figure, axes = plt.subplots(1, 3, figsize=(15, 4.5), constrained_layout=True)
    losses = {"loss": "without smoothing"}
    _draw(axes[0], series, losses, "Cross-entropy, training batches", "nats per token")
    directions = read_directions(log)
    axes[1].barh(list(directions), list(directions.values()))
    axes[1].invert_yaxis()
    axes[1].set_title("chrF++, development pairs, no beam, at the end")
    _draw(axes[2], series, {"rate": "fraction of the peak"}, "Learning rate", "")
    figure.savefig(folder / "translation.png", dpi=80)
    plt.close(figure)
