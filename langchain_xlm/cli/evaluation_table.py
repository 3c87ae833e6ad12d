"""A report in the terminal."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final

if TYPE_CHECKING:
    from rich.table import Table

    from langchain_xlm.evaluation.report import Figure, Report

_ARROWS: Final = {"higher": " ↑", "lower": " ↓", None: ""}


def print_report(report: Report) -> None:
    """Write the tables of a report to standard output.

    Args:
        report: The report.
    """
    from rich.console import Console

    console = Console()
    console.print(_quality(report))
    if any(system.cost for system in report.systems):
        console.print(_costs(report))
    if report.comparisons:
        console.print(_comparisons(report))
    for system in report.systems:
        if system.failed:
            console.print(f"{system.name} refused {system.failed} of the inputs.", markup=False)
    skipped = "".join(f"; {count} left out: {why}" for why, count in report.data.skipped.items())
    console.print(
        f"{report.data.examples:,} examples of {report.data.rows:,} rows{skipped}", markup=False
    )


def _quality(report: Report) -> Table:
    table = _table("Quality", "with 95% intervals" if report.resamples else None)
    table.add_column("system")
    for figure in report.systems[0].figures:
        table.add_column(figure.title + _ARROWS[figure.better], justify="right")
    for system in report.systems:
        style = None if system.model else "dim"
        table.add_row(system.name, *map(_words, system.figures), style=style)
    return table


def _costs(report: Report) -> Table:
    table = _table("Cost", "each measured in a process of its own")
    table.add_column("system")
    for title in ("weights MiB", "peak MiB", "load s", "p50 ms", "p95 ms", "texts/s", "device"):
        table.add_column(title, justify="left" if title == "device" else "right")
    for system in report.systems:
        if (cost := system.cost) is None:
            continue
        table.add_row(
            system.name,
            f"{cost.weights_bytes / 2**20:,.1f}",
            f"{cost.peak_bytes / 2**20:,.1f}",
            f"{cost.load_s:.2f}",
            f"{1000 * cost.latency_p50_s:,.1f}",
            f"{1000 * cost.latency_p95_s:,.1f}",
            f"{cost.throughput_texts_per_s:,.1f} (×{cost.throughput_batch})",
            f"{cost.device}, {cost.dtype}",
        )
    return table


def _comparisons(report: Report) -> Table:
    table = _table("Differences", "on the same examples; p from a paired bootstrap")
    for title in ("systems", "figure", "difference", "95% interval", "p"):
        table.add_column(title, justify="left" if title in ("systems", "figure") else "right")
    deciding = report.systems[0].figures[0].key
    for each in report.comparisons:
        if each.key != deciding:
            continue
        numbers = [_number(value, 2) for value in (each.difference, each.low, each.high)]
        table.add_row(
            f"{each.second} less {each.first}",
            each.key,
            numbers[0],
            f"{numbers[1]} to {numbers[2]}",
            _number(each.p_value, 3),
        )
    return table


def _table(title: str, caption: str | None) -> Table:
    from rich import box
    from rich.table import Table

    return Table(
        title=title,
        caption=caption,
        box=box.SIMPLE_HEAD,
        title_justify="left",
        caption_justify="left",
    )


def _words(figure: Figure) -> str:
    digits = 1 if figure.unit == "%" else 3
    value = _number(figure.value, digits)
    if figure.low is None or figure.high is None:
        return value
    return f"{value}\n{_number(figure.low, digits)}–{_number(figure.high, digits)}"


def _number(value: float | None, digits: int) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"
