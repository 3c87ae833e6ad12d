"""The charts of the encoder's speed."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from benchmarks.speed_peers import OURS, REFERENCE
from benchmarks.speed_timing import Result


def charts(results: Result) -> Result:
    import altair as alt

    drawn: Result = {}
    if "paths" in results:
        rows = [
            {"system": name, "texts": case, "ratio": base / row["median_s"],
             "ours": name.startswith(OURS)}
            for part in ("paths", "languages") if part in results
            for case, size in results[part]["results"]["sizes"].items()
            if (base := size["systems"].get(REFERENCE, {}).get("median_s"))
            for name, row in size["systems"].items()
        ]  # fmt: skip
        if rows:
            drawn["paths"] = bars(alt, rows, f"Times as fast as {REFERENCE}", ".1f").facet(
                alt.Column("texts:N", title=None, sort=None)
            )
    if "query" in results:
        rows = [
            {"system": name, "ratio": 1000 * row["median_s"], "ours": name.startswith(OURS)}
            for name, row in results["query"]["results"]["systems"].items()
        ]
        drawn["query"] = bars(alt, rows, "Milliseconds for one short query", ".0f")
    for name, title in (("lengths", "Tokens in a text"), ("batch", "Texts in a call")):
        if name in results:
            costs = results[name]["results"]["us_a_token"]
            drawn[name] = lines(alt, costs, title, "Microseconds a token")
    if "scale" in results:
        by_model = {
            model: {count: row["us_a_token"] for count, row in counts.items()}
            for model, counts in results["scale"]["results"].items()
        }
        up = "Microseconds of processor time a token"
        drawn["scale"] = lines(alt, by_model, "Texts", up)
    if "memory" in results:
        rows = [
            {"texts": int(count), "value": row["megabytes"]}
            for count, row in results["memory"]["results"].items()
        ]
        drawn["memory"] = line(alt, rows, "Megabytes at the most")
    if "load" in results:
        drawn["load"] = curves(alt, results["load"]["results"])
    return drawn


def line(alt: Any, rows: list[Result], title: str) -> Any:
    return (
        alt.Chart(alt.Data(values=rows), width=420, height=180)
        .mark_line(point=True, color="#3b6fb6")
        .encode(
            x=alt.X("texts:Q", scale=alt.Scale(type="log"), title="Texts"),
            y=alt.Y("value:Q", scale=alt.Scale(zero=True), title=title),
        )
    )


def lines(alt: Any, costs: Result, across: str, up: str) -> Any:
    """A line for each system, ours in colour; both axes logarithmic."""
    rows = [
        {"system": name, "number": int(number), "value": value}
        for name, of_system in costs.items()
        for number, value in of_system.items()
    ]
    names = list(costs)
    greys = iter(["#1a1a1a", "#7d7d7d", "#a8a8a8", "#cacaca"])
    blues = iter(["#3b6fb6", "#e08a1e"])
    colours = [next(blues if name.startswith(OURS) else greys) for name in names]
    scale = alt.Scale(type="log", base=2, nice=False)
    return (
        alt.Chart(alt.Data(values=rows), width=460, height=260)
        .mark_line(point=True)
        .encode(
            x=alt.X("number:Q", scale=scale, title=across),
            y=alt.Y("value:Q", scale=alt.Scale(type="log", nice=False), title=up),
            color=alt.Color(
                "system:N",
                title=None,
                legend=alt.Legend(labelLimit=320),
                scale=alt.Scale(domain=names, range=colours),
            ),
            strokeDash=alt.StrokeDash(
                "system:N",
                title=None,
                scale=alt.Scale(
                    domain=names,
                    range=[[1, 0] if name.startswith(OURS) else [4, 3] for name in names],
                ),
            ),
        )
    )


def curves(alt: Any, found: Result) -> Any:
    """Latency against what is answered: a line for each system and percentile."""
    rows = [
        {"system": name, "rate": point["answered_per_s"], "ms": point[f"p{each}_ms"],
         "percentile": f"p{each}"}
        for name, system in found["systems"].items()
        for point in system["points"]
        for each in (50, 95, 99)
    ]  # fmt: skip
    names = list(found["systems"])
    colours = ["#3b6fb6", "#e08a1e", "#8a8a8a"][: len(names)]
    return (
        alt.Chart(alt.Data(values=rows), width=460, height=260)
        .mark_line(point=True)
        .encode(
            x=alt.X("rate:Q", title="Queries answered in a second"),
            y=alt.Y(
                "ms:Q",
                scale=alt.Scale(type="log"),
                title="Milliseconds (line p50, dashes p95, dots p99)",
            ),
            color=alt.Color(
                "system:N", title=None, scale=alt.Scale(domain=names, range=colours), sort=names
            ),
            strokeDash=alt.StrokeDash(
                "percentile:N",
                title=None,
                legend=None,
                scale=alt.Scale(domain=["p50", "p95", "p99"], range=[[1, 0], [6, 3], [2, 2]]),
            ),
            order="rate:Q",
        )
    )


def bars(alt: Any, rows: list[Result], title: str, number: str) -> Any:
    order = sorted({row["system"] for row in rows}, key=lambda name: place(rows, name))
    base = alt.Chart(width=300, height=alt.Step(26)).encode(
        y=alt.Y("system:N", sort=order, title=None, axis=alt.Axis(labelLimit=320)),
        x=alt.X("ratio:Q", title=title),
    )
    colours = alt.Color(
        "ours:N", scale=alt.Scale(domain=[True, False], range=["#3b6fb6", "#b8b8b8"]), legend=None
    )
    figures = base.mark_text(align="left", dx=3).encode(text=alt.Text("ratio:Q", format=number))
    return alt.layer(base.mark_bar().encode(color=colours), figures, data=alt.Data(values=rows))


def place(rows: list[Result], name: str) -> float:
    return max(row["ratio"] for row in rows if row["system"] == name)


def write_chart(chart: Any, path: Path) -> None:
    import vl_convert

    styled = (
        chart.configure(
            font="sans-serif",
            background="white",
            padding={"left": 5, "top": 5, "right": 30, "bottom": 8},
        )
        .configure_axis(labelFontSize=12, titleFontSize=12, titleFontWeight="normal")
        .configure_view(stroke=None)
    )
    spec = styled.to_dict()
    spec.pop("$schema", None)
    path.write_text(vl_convert.vegalite_to_svg(spec), encoding="utf-8")
