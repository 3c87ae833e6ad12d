"""The page of the site that shows the figures of the starter models."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from langchain_xlm.evaluation.report import Figure, Report, SystemReport

TITLES = {
    "tatoeba": "Tatoeba: finding translations, 112 languages",
    "pud": "PUD: finding translations, longer sentences",
    "ntrex": "NTREX: finding translations, news",
    "nusax-bitext": "NusaX: finding translations, languages of Indonesia",
    "jsts": "JSTS: likeness of Japanese sentences",
    "translation-tatoeba": "Tatoeba: translating",
    "translation-ntrex": "NTREX: translating news",
    "sentiment": "NusaX: sentiment",
    "scitldr": "SciTLDR: one sentence for a paper (English)",
    "csl": "CSL: one sentence for a paper (Chinese)",
    "klexikon": "Klexikon: five sentences of an encyclopedia article (German)",
    "precision-translation": "16, 8 and 4 bits: translating German into English",
    "precision-embeddings": "16, 8 and 4 bits: finding translations",
    "precision-sentiment": "16, 8 and 4 bits: sentiment",
}

HEAD = """# Figures of the starter models

How good the bundled models are on public test sets, none of which they were trained on, as
`langchain-xlm evaluate` measures it ([how](evaluation.md)). The sets themselves are not in the
repository. This page and everything in `docs/figures` is written by

```shell
python -m benchmarks.figures DATA
```

from a folder DATA with the sets. Brackets hold 95% intervals.
"""


def write_figures_page(folder: Path, page: Path, *, order: Sequence[str]) -> None:
    """Write the page from the reports that are in a folder.

    Args:
        folder: Reports as NAME.json, with their charts.
        page: The page.
        order: Names, those shown first in front.
    """
    parts = [HEAD]
    for name in [*TITLES, *(each for each in order if each not in TITLES)]:
        path = folder / f"{name}.json"
        if path.exists():
            report = Report.read_json(path)
            parts.append("\n".join(section(name, report, folder)))
    page.write_text("\n".join(parts), encoding="utf-8")


def section(name: str, report: Report, folder: Path) -> Iterator[str]:
    yield f"## {TITLES.get(name, name)}\n"
    sampled = f", at most {report.data.limit} of each group" if report.data.limit else ""
    left_out = sum(report.data.skipped.values())
    yield (
        f"{report.data.examples:,} examples{sampled}"
        + (f"; {left_out} rows without a text on one side left out" if left_out else "")
        + f". {report.machine.system}; {report.created[:10]}; report: "
        f"[{name}.json](figures/{name}.json).\n"
    )
    yield from table([(system.name, system.figures) for system in report.systems], "system")
    if any(system.cost for system in report.systems):
        yield from costs(report.systems)
    charts = sorted(folder.glob(f"{name}.*.svg"), key=lambda path: path.name)
    groups = report.systems[0].groups
    for path in charts:
        kind = path.name.removeprefix(f"{name}.").removesuffix(".svg").partition("-")[0]
        if kind == "quality" and groups:
            continue
        yield f"![{kind}](figures/{path.name})\n"
    if groups:
        yield from table([(group.group, group.figures) for group in groups], "group")


def table(rows: Sequence[tuple[str, Sequence[Figure]]], first: str) -> Iterator[str]:
    heads = [figure.title for figure in rows[0][1]]
    yield f"| {first} | {' | '.join(heads)} |"
    yield f"|---|{'---:|' * len(heads)}"
    for name, figures in rows:
        yield f"| {name} | {' | '.join(words(figure) for figure in figures)} |"
    yield ""


def costs(systems: Sequence[SystemReport]) -> Iterator[str]:
    yield "| system | weights, MiB | peak, MiB | load, s | one text, ms | 95 of 100, ms | texts/s |"
    yield "|---|---:|---:|---:|---:|---:|---:|"
    for system in systems:
        if (cost := system.cost) is None:
            continue
        yield (
            f"| {system.name} | {cost.weights_bytes / 2**20:.1f} | {cost.peak_bytes / 2**20:.0f}"
            f" | {cost.load_s:.2f} | {1000 * cost.latency_p50_s:.1f}"
            f" | {1000 * cost.latency_p95_s:.1f} | {cost.throughput_texts_per_s:.1f} |"
        )
    yield ""


def words(figure: Figure) -> str:
    if figure.value is None:
        return "–"
    digits = 1 if figure.unit == "%" else 3
    value = f"{figure.value:.{digits}f}"
    if figure.low is None or figure.high is None:
        return value
    return f"{value} [{figure.low:.{digits}f}, {figure.high:.{digits}f}]"
