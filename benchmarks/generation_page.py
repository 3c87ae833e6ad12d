"""The table and the chart of `benchmarks.generation`, made from its JSON."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from benchmarks.generation_systems import SYSTEMS

_NAMES = {"m2m100-418m": "M2M100-418M shape", "starter": "bundled starter", "small": "small shape"}


def write_page(report: dict[str, Any], folder: Path) -> None:
    """Write `generation.md` and one chart for each part.

    Args:
        report: What was measured.
        folder: Where the files go.
    """
    lines = [_machine(report["machine"]), ""]
    results = list(report["results"].values())
    for part in dict.fromkeys(result["part"] for result in results):
        own = [result for result in results if result["part"] == part]
        for beams in sorted({result["beams"] for result in own}):
            group = [result for result in own if result["beams"] == beams]
            lines += _table(part, beams, sorted(group, key=_order))
        write_chart(own, folder / f"generation-{part}.svg", title=_NAMES[part])
    (folder / "generation.md").write_text("\n".join(lines), encoding="utf-8")


def _order(result: dict[str, Any]) -> tuple[int, int]:
    return list(SYSTEMS).index(result["system"]), -result["sentences"]


def rate(result: dict[str, Any], seconds: float) -> float:
    """Sentences in a second."""
    return float(result["sentences"] / seconds)


def _machine(found: dict[str, Any]) -> str:
    return (
        f"{found['processor']}, {found['threads']} threads, no GPU; Python {found['python']},"
        f" torch {found['torch']}, transformers {found['transformers']}, CTranslate2"
        f" {found['ctranslate2']}."
    )


def _table(part: str, beams: int, group: list[dict[str, Any]]) -> list[str]:
    loop = [result for result in group if result["system"].startswith("loop")]
    slowest = rate(loop[0], statistics.median(loop[0]["seconds"])) if loop else None
    tokens = group[0]["tokens"]
    fixed = f", {tokens} tokens written for each sentence" if tokens else ""
    search = "greedy" if beams == 1 else f"{beams} beams"
    unit = "tokens/s" if tokens else "sentences/s"
    lines = [
        f"**{_NAMES[part]}, {search}{fixed}**",
        "",
        f"| system | {unit}, median (slowest to fastest round) | × loop of calls | equal to float32"
        " | chrF to float32 | sentences × rounds |",
        "|---|---|---|---|---|---|",
    ]
    for result in group:
        times = sorted(result["seconds"])
        middle, low, high = (
            rate(result, each) * (tokens or 1)
            for each in (statistics.median(times), times[-1], times[0])
        )
        faster = f"{rate(result, statistics.median(times)) / slowest:.1f}" if slowest else "–"
        equal = f"{result['equal']:.0%}" if "equal" in result else "–"
        chrf = f"{result['chrf']:.1f}" if "chrf" in result else "–"
        lines.append(
            f"| {SYSTEMS[result['system']]} | {middle:.1f} ({low:.1f} to {high:.1f}) | {faster}"
            f" | {equal} | {chrf} | {result['sentences']} × {len(times)} |"
        )
    return [*lines, ""]


def write_chart(results: list[dict[str, Any]], file: Path, *, title: str) -> None:
    """Draw the speed of each system, with a line from its slowest to its fastest round.

    Args:
        results: The results of one part.
        file: Where the SVG goes.
        title: What stands above it.
    """
    import altair

    unit = "tokens in a second" if results[0]["tokens"] else "sentences in a second"
    rows = []
    for result in sorted(results, key=_order):
        if any(
            (row["system"], row["beams"]) == (result["system"], result["beams"]) for row in rows
        ):
            continue  # the one with more sentences is there
        rates = [rate(result, each) * (result["tokens"] or 1) for each in result["seconds"]]
        rows.append(
            {
                "system": result["system"], "beams": result["beams"],
                "median": statistics.median(rates),
                "low": min(rates), "high": max(rates),
                "search": "greedy" if result["beams"] == 1 else f"{result['beams']} beams",
                "whose": "langchain-xlm" if result["system"].startswith("ours") else "others",
            }
        )  # fmt: skip
    base = altair.Chart(altair.Data(values=rows)).encode(
        y=altair.Y("system:N", sort=list(SYSTEMS), title=None, axis=altair.Axis(labelLimit=240))
    )
    bars = base.mark_bar().encode(
        x=altair.X("median:Q", title=unit),
        color=altair.Color("whose:N", title=None, scale=altair.Scale(
            domain=["langchain-xlm", "others"], range=["#1f6f8b", "#b8c4cc"])),
    )  # fmt: skip
    spread = base.mark_rule(color="#333").encode(x="low:Q", x2="high:Q")
    chart = altair.layer(bars, spread).properties(width=380)
    faceted = chart.facet(
        column=altair.Column("search:N", title=None, sort="descending"), title=title
    )
    faceted.configure(font="system-ui, sans-serif").save(file)
