"""The figures of the encoder's speed as the site shows them: a table and charts."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = DOCS / "figures" / "speed"
REFERENCE = "HuggingFaceEmbeddings"
OURS = "langchain-xlm"
SHAPES = {
    "base": "of the shape of xlm-roberta-base",
    "small": "of the shape of multilingual-e5-small",
    "tiny": "of a tiny shape, for trying out",
}

Result = dict[str, Any]


def write_page(results: Result, folder: Path = FIGURES) -> None:
    """Write `encoder.json`, `encoder.txt` and the charts.

    Args:
        results: Parts of the benchmark by name, as many as there are.
        folder: Where the files go.
    """
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "encoder.json").write_text(json.dumps(results, indent=1), encoding="utf-8")
    drawn = charts(results)
    for name, chart in drawn.items():
        write_chart(chart, folder / f"encoder.{name}.svg")
    (folder / "encoder.txt").write_text("\n".join(page(results, set(drawn))), encoding="utf-8")


def page(results: Result, drawn: set[str]) -> Iterator[str]:
    sections = {
        "paths": paths, "query": query, "concurrent": concurrent, "peak": peak,
        "fidelity": fidelity, "scale": scale, "memory": memory,
    }  # fmt: skip
    yield "<!-- Written by `python -m benchmarks.speed encoder --docs`; change that. -->\n"
    for name, write in sections.items():
        if name in results:
            yield from write(results[name])
            if name in drawn:
                yield f"\n![{name}](figures/speed/encoder.{name}.svg)\n"
    yield from machines(results)


def paths(part: Result) -> Iterator[str]:
    yield "### Many texts\n"
    yield f"Random weights {SHAPES[part['shape']]}. Times are medians, lowest and highest beside.\n"
    for count, size in part["results"]["sizes"].items():
        yield f"\n**{count} texts, {size['tokens']:,} tokens**\n"
        yield "| | seconds | times as fast | cosine to float32 | nearest kept | rounds |"
        yield "|---|---|---|---|---|---|"
        base = size["systems"].get(REFERENCE, {}).get("median_s")
        for name, row in by_speed(size["systems"]):
            ratio = f"{base / row['median_s']:.2f}" if base else "no reference"
            yield (
                f"| {name} | {row['median_s']:.2f} ({row['low_s']:.2f} to {row['high_s']:.2f})"
                f" | {ratio} | {row['cosine']:.5f} | {row['nearest_kept']:.0%} | {row['rounds']} |"
            )
    yield from left_out(part["results"])


def query(part: Result) -> Iterator[str]:
    yield "\n### One query\n"
    yield f"One short question, random weights {SHAPES[part['shape']]}.\n"
    yield "| | milliseconds | of HuggingFaceEmbeddings |"
    yield "|---|---|---|"
    yield from plain_rows(part["results"]["systems"])
    yield (
        "\nWhere the time goes in `embed_query`, in milliseconds: "
        + "; ".join(
            f"{name} {1000 * taken:.2f}" for name, taken in part["results"]["steps"].items()
        )
        + "."
    )
    yield from left_out(part["results"])


def concurrent(part: Result) -> Iterator[str]:
    calls = part["results"]["calls"]
    yield f"\n### {calls} queries at once\n"
    yield f"{calls} calls of `aembed_query` sent together, until the last is answered.\n"
    yield "| | queries a second | times as many | batches |"
    yield "|---|---|---|---|"
    systems = part["results"]["systems"]
    base = systems.get(REFERENCE, {}).get("median_s")
    for name, row in by_speed(systems):
        ratio = f"{base / row['median_s']:.1f}" if base else "no reference"
        yield f"| {name} | {calls / row['median_s']:.0f} | {ratio} | {row.get('batches', calls)} |"


def peak(part: Result) -> Iterator[str]:
    found = part["results"]
    peaks = ", ".join(f"{name} {value / 1e9:.0f}" for name, value in found["peaks"].items())
    yield "\n### Share of the machine's peak\n"
    yield f"Matrix products reach, in GFLOP/s: {peaks}."
    yield f"On {found['texts']} texts of {found['tokens_each']} tokens, tokenization included:\n"
    yield "| | GFLOP/s | share of the peak |"
    yield "|---|---|---|"
    for name, row in found["shares"].items():
        yield f"| {name} | {row['flop_per_s'] / 1e9:.0f} | {row['share']:.0%} of {row['peak']} |"


def fidelity(part: Result) -> Iterator[str]:
    yield "\n### What rounding costs on trained weights\n"
    yield "100 texts against float32.\n"
    yield "| weights | setting | cosine, mean | cosine, lowest | nearest kept |"
    yield "|---|---|---|---|---|"
    for model, settings in part["results"].items():
        for name, row in settings.items():
            yield (
                f"| {model} | {name} | {row['cosine']:.5f} | {row['lowest_cosine']:.5f}"
                f" | {row['nearest_kept']:.0%} |"
            )


def scale(part: Result) -> Iterator[str]:
    yield "\n### Cost of a token against the number of texts\n"
    yield "The bundled starter in bfloat16, short texts.\n"
    yield "| texts | tokens | seconds | microseconds a token |"
    yield "|---|---|---|---|"
    for count, row in part["results"].items():
        yield (
            f"| {int(count):,} | {row['tokens']:,} | {row['seconds']:.1f}"
            f" | {row['us_a_token']:.1f} |"
        )


def memory(part: Result) -> Iterator[str]:
    yield "\n### Memory against the number of texts\n"
    yield "Largest resident memory of `langchain-xlm embed` with the bundled starter.\n"
    yield "| texts | megabytes |"
    yield "|---|---|"
    for count, row in part["results"].items():
        yield f"| {int(count):,} | {row['megabytes']:.0f} |"


def machines(results: Result) -> Iterator[str]:
    seen = {}
    for part in results.values():
        machine = part["machine"]
        versions = ", ".join(f"{name} {number}" for name, number in machine["versions"].items())
        line = (
            f"{machine['processor']}, {machine['cores']} cores, {machine['threads']} threads,"
            f" {machine['system']}, Python {machine['python']}, {versions}"
        )
        seen[line] = None
    yield "\n### Measured on\n"
    yield from (f"- {line}" for line in seen)
    yield ""


def plain_rows(systems: Result) -> Iterator[str]:
    base = systems.get(REFERENCE, {}).get("median_s")
    for name, row in by_speed(systems):
        ratio = f"{row['median_s'] / base:.2f}" if base else "no reference"
        yield f"| {name} | {1000 * row['median_s']:.1f} | {ratio} |"


def by_speed(systems: Result) -> list[tuple[str, Result]]:
    return sorted(systems.items(), key=lambda pair: -pair[1]["median_s"])


def left_out(results: Result) -> Iterator[str]:
    if results.get("skipped"):
        yield f"\nNot installed, so not run: {', '.join(results['skipped'])}."


def charts(results: Result) -> Result:
    import altair as alt

    drawn: Result = {}
    if "paths" in results:
        rows = [
            {"system": name, "texts": f"{count} texts", "ratio": base / row["median_s"],
             "ours": name.startswith(OURS)}
            for count, size in results["paths"]["results"]["sizes"].items()
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
    if "scale" in results:
        rows = [
            {"texts": int(count), "us": row["us_a_token"]}
            for count, row in results["scale"]["results"].items()
        ]
        drawn["scale"] = (
            alt.Chart(alt.Data(values=rows), width=420, height=180)
            .mark_line(point=True, color="#3b6fb6")
            .encode(
                x=alt.X("texts:Q", scale=alt.Scale(type="log"), title="Texts"),
                y=alt.Y("us:Q", scale=alt.Scale(zero=True), title="Microseconds a token"),
            )
        )
    return drawn


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
