"""The charts of a report, as Vega-Lite: drawn in the page by a browser, or as SVG."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

from langchain_xlm.evaluation.report import Figure, Report, SystemReport
from langchain_xlm.evaluation.tasks import need

__all__ = ["charts", "pareto_front", "write_charts"]

# Altair's charts are typed only in part.
Chart: TypeAlias = Any

_WIDTH: Final = 420
_HEIGHT: Final = 280
_FONT: Final = "system-ui, sans-serif"
_MEBIBYTE: Final = 2**20


def charts(report: Report) -> dict[str, dict[str, Any]]:
    """Draw every chart that a report has something for.

    Args:
        report: The report.

    Returns:
        Vega-Lite specifications by name, in the order of the page.
    """
    need("altair", needed_for="Drawing charts")
    priced = [system for system in report.systems if system.cost is not None]
    drawn: dict[str, Chart] = {"quality": _quality(report.systems)}
    if priced:
        drawn["memory"] = _against(priced, "MiB of weights", _weights_mib, lower=True)
        drawn["speed"] = _against(priced, "texts in a second", _throughput, lower=False)
        drawn["latency"] = _latency(priced)
    if any(system.groups for system in report.systems):
        drawn["groups"] = _groups(report.systems)
    for number, system in enumerate(report.systems):
        if system.confusion is not None and system.model is not None:
            drawn[f"confusion-{number}"] = _confusion(system)
        if len(system.calibration) > 1:
            drawn[f"calibration-{number}"] = _calibration(system)
        if system.similarity:
            drawn[f"similarity-{number}"] = _similarity(system)
    return {name: _finished(chart) for name, chart in drawn.items()}


def write_charts(report: Report, folder: Path) -> list[Path]:
    """Draw every chart as SVG, without a browser and without texts of the data.

    Args:
        report: The report.
        folder: Where the files go; made if missing.

    Returns:
        The files.
    """
    need("vl_convert", needed_for="Drawing charts")
    import vl_convert

    folder.mkdir(parents=True, exist_ok=True)
    written = []
    for name, spec in charts(report).items():
        path = folder / f"{name}.svg"
        path.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
        written.append(path)
    return written


def pareto_front(systems: Sequence[SystemReport]) -> list[SystemReport]:
    """Find the systems than which none has both less weights and a better deciding figure.

    Args:
        systems: Systems with costs.

    Returns:
        Those of the front, lightest first.
    """
    falling = systems[0].figures[0].better == "lower"

    def quality(system: SystemReport) -> float:
        value = system.figures[0].value
        if value is None:
            return float("-inf")
        return -value if falling else value

    front: list[SystemReport] = []
    for system in sorted(systems, key=lambda each: (_weights_mib(each), -quality(each))):
        if not front or quality(system) > quality(front[-1]):
            front.append(system)
    return front


def _weights_mib(system: SystemReport) -> float:
    assert system.cost is not None, "only systems with costs are drawn"
    return system.cost.weights_bytes / _MEBIBYTE


def _throughput(system: SystemReport) -> float:
    assert system.cost is not None, "only systems with costs are drawn"
    return system.cost.throughput_texts_per_s


def _finished(chart: Any) -> dict[str, Any]:
    styled = (
        chart.configure(font=_FONT, background="white")
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .configure_title(fontSize=14, fontWeight="bold", anchor="start", subtitleColor="#555")
        .configure_legend(labelFontSize=12, labelLimit=400)
        .configure_view(stroke=None)
    )
    spec: dict[str, Any] = styled.to_dict()
    # The schema's address is only a name; without it nothing in the page looks like a link.
    spec.pop("$schema", None)
    return spec


def _data(rows: list[dict[str, Any]]) -> Any:
    import altair as alt

    return alt.Data(values=rows)  # type: ignore[no-untyped-call]


def _axis_title(figure: Figure) -> str:
    unit = f" ({figure.unit})" if figure.unit else ""
    arrow = {"higher": ", more is better", "lower": ", less is better", None: ""}
    return f"{figure.title}{unit}{arrow[figure.better]}"


def _row(name: str, figure: Figure, **more: Any) -> dict[str, Any]:
    return {"system": name, "value": figure.value, "low": figure.low, "high": figure.high, **more}


def _quality(systems: Sequence[SystemReport]) -> Chart:
    import altair as alt

    first = systems[0].figures[0]
    names = [system.name for system in systems]
    rows = [
        _row(each.name, each.figures[0], kind="model" if each.model else "baseline")
        for each in systems
    ]
    base = alt.Chart(
        _data(rows),
        title=alt.Title(first.title, subtitle="with 95% intervals"),
        width=_WIDTH,
        height=alt.Step(30),
    ).encode(y=alt.Y("system:N", sort=names, title=None, axis=alt.Axis(labelLimit=260)))
    bars = base.mark_bar(height=18).encode(
        x=alt.X("value:Q", title=_axis_title(first), scale=alt.Scale(zero=True)),
        color=alt.Color(
            "kind:N",
            title=None,
            scale=alt.Scale(domain=["model", "baseline"], range=["#3b6fb6", "#b8b8b8"]),
        ),
        tooltip=["system:N", *_number_tooltips()],
    )
    ranges = base.mark_rule(strokeWidth=2).encode(x="low:Q", x2="high:Q")
    return bars + ranges


def _number_tooltips() -> list[Any]:
    import altair as alt

    return [alt.Tooltip(f"{name}:Q", format=".2f") for name in ("value", "low", "high")]


def _against(systems: Sequence[SystemReport], title: str, cost: Any, *, lower: bool) -> Chart:
    """Draw quality against a cost; against memory with the front of the best trades."""
    import altair as alt

    figure = systems[0].figures[0]
    rows = [_row(each.name, each.figures[0], cost=cost(each), label=each.name) for each in systems]
    heading = f"{figure.title} against {'memory' if lower else 'speed'}"
    base = alt.Chart(
        _data(rows),
        title=alt.Title(heading, subtitle=_front_note(systems) if lower else ""),
        width=_WIDTH,
        height=_HEIGHT,
    )
    horizontal = alt.X(
        "cost:Q",
        title=f"{title}, {'less' if lower else 'more'} is better",
        scale=alt.Scale(zero=False, padding=36),
        axis=alt.Axis(tickCount=6),
    )
    vertical = alt.Y("value:Q", title=_axis_title(figure), scale=alt.Scale(zero=False, padding=16))
    points = base.mark_point(filled=True, size=110).encode(
        x=horizontal,
        y=vertical,
        color=alt.Color("system:N", legend=None),
        tooltip=["system:N", alt.Tooltip("cost:Q", format=".1f", title=title), *_number_tooltips()],
    )
    ranges = base.mark_rule(opacity=0.5).encode(
        x="cost:Q", y="low:Q", y2="high:Q", color=alt.Color("system:N", legend=None)
    )
    names = base.mark_text(dy=-12, fontSize=11).encode(x="cost:Q", y="value:Q", text="label:N")
    layers = [ranges, points, names]
    if lower:
        front = [
            _row(each.name, each.figures[0], cost=cost(each)) for each in pareto_front(systems)
        ]
        line = alt.Chart(_data(front)).mark_line(
            strokeDash=[4, 4], color="#888", interpolate="step-after"
        )
        layers.insert(0, line.encode(x="cost:Q", y="value:Q"))
    return alt.layer(*layers)


def _front_note(systems: Sequence[SystemReport]) -> str:
    return "dashed: none is both lighter and better" if len(systems) > 1 else ""


def _latency(systems: Sequence[SystemReport]) -> Chart:
    import altair as alt

    rows = []
    for each in systems:
        assert each.cost is not None
        rows.append(
            {
                "system": each.name,
                "p50": 1000 * each.cost.latency_p50_s,
                "p95": 1000 * each.cost.latency_p95_s,
            }
        )
    base = alt.Chart(
        _data(rows),
        title=alt.Title("Time for one text", subtitle="bar: median; line: up to the 95th of 100"),
        width=_WIDTH,
        height=alt.Step(30),
    ).encode(
        y=alt.Y(
            "system:N",
            sort=[each.name for each in systems],
            title=None,
            axis=alt.Axis(labelLimit=260),
        )
    )
    tips = ["system:N", alt.Tooltip("p50:Q", format=".1f"), alt.Tooltip("p95:Q", format=".1f")]
    bars = base.mark_bar(height=18, color="#3b6fb6").encode(
        x=alt.X("p50:Q", title="milliseconds, less is better"), tooltip=tips
    )
    return bars + base.mark_rule(strokeWidth=2).encode(x="p50:Q", x2="p95:Q")


def _groups(systems: Sequence[SystemReport]) -> Chart:
    import altair as alt

    first = systems[0].figures[0]
    rows = [
        _row(each.name, group.figures[0], group=group.group)
        for each in systems
        for group in each.groups
    ]
    own = {group.group: group.figures[0].value or 0.0 for group in systems[0].groups}
    order = sorted(own, key=lambda name: -own[name])
    names = [each.name for each in systems if each.groups]
    base = alt.Chart(
        _data(rows),
        title=alt.Title(f"{first.title} by group", subtitle="with 95% intervals"),
        width=_WIDTH + 120,
        height=alt.Step(12 if len(names) > 1 else 16),
    ).encode(
        y=alt.Y("group:N", sort=order, title=None),
        yOffset=alt.YOffset("system:N", sort=names),
    )
    bars = base.mark_bar().encode(
        x=alt.X("value:Q", title=_axis_title(first), axis=alt.Axis(orient="top")),
        color=alt.Color("system:N", sort=names, title=None, legend=alt.Legend(orient="top")),
        tooltip=["group:N", "system:N", *_number_tooltips()],
    )
    return bars + base.mark_rule(opacity=0.6).encode(x="low:Q", x2="high:Q")


def _confusion(system: SystemReport) -> Chart:
    import altair as alt

    assert system.confusion is not None
    labels = list(system.confusion.labels)
    rows = []
    for truth, counts in zip(labels, system.confusion.counts, strict=True):
        for given, count in zip(labels, counts, strict=True):
            share = count / max(1, sum(counts))
            rows.append({"truth": truth, "given": given, "texts": count, "share": share})
    base = alt.Chart(
        _data(rows),
        title=alt.Title(f"Labels: {system.name}", subtitle="shade: share of the true label"),
        width=alt.Step(76),
        height=alt.Step(52),
    ).encode(
        x=alt.X("given:N", sort=labels, title="given", axis=alt.Axis(labelAngle=0)),
        y=alt.Y("truth:N", sort=labels, title="true"),
    )
    cells = base.mark_rect().encode(
        color=alt.Color("share:Q", scale=alt.Scale(scheme="blues", domain=[0, 1]), legend=None),
        tooltip=["truth:N", "given:N", "texts:Q", alt.Tooltip("share:Q", format=".1%")],
    )
    counts = base.mark_text(fontSize=13).encode(
        text="texts:Q",
        color=alt.condition("datum.share > 0.55", alt.value("white"), alt.value("#222")),
    )
    return cells + counts


def _calibration(system: SystemReport) -> Chart:
    import altair as alt

    rows = [each.model_dump() for each in system.calibration]
    unit = alt.Scale(domain=[0, 1])
    ideal = alt.Chart(_data([{"x": 0, "y": 0}, {"x": 1, "y": 1}])).mark_line(
        strokeDash=[4, 4], color="#888"
    )
    found = alt.Chart(
        _data(rows),
        title=alt.Title(f"Calibration: {system.name}", subtitle="size: number of texts"),
        width=_HEIGHT,
        height=_HEIGHT,
    ).encode(
        x=alt.X("confidence:Q", scale=unit, title="confidence"),
        y=alt.Y("accuracy:Q", scale=unit, title="share that is right"),
    )
    points = found.mark_circle(color="#3b6fb6").encode(
        size=alt.Size("texts:Q", legend=None, scale=alt.Scale(range=[20, 400])),
        tooltip=["confidence:Q", "accuracy:Q", "texts:Q"],
    )
    return found.mark_line(color="#3b6fb6") + points + ideal.encode(x="x:Q", y="y:Q")


def _similarity(system: SystemReport) -> Chart:
    import altair as alt

    rows = [
        {"left": left + 1, "right": right + 1, "cosine": value}
        for left, values in enumerate(system.similarity)
        for right, value in enumerate(values)
    ]
    lowest = min(value for values in system.similarity for value in values)
    return (
        alt.Chart(
            _data(rows),
            title=alt.Title(
                f"Cosines of parallel sentences: {system.name}",
                subtitle="a clear diagonal: each sentence is nearest to its own translation",
            ),
            width=alt.Step(15),
            height=alt.Step(15),
        )
        .mark_rect()
        .encode(
            x=alt.X(
                "right:O",
                title="right side of pair",
                axis=alt.Axis(labelAngle=0, labelOverlap=True),
            ),
            y=alt.Y("left:O", title="left side of pair"),
            color=alt.Color(
                "cosine:Q", scale=alt.Scale(scheme="viridis", domain=[min(0.0, lowest), 1])
            ),
            tooltip=["left:O", "right:O", alt.Tooltip("cosine:Q", format=".3f")],
        )
    )
