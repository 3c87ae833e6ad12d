"""`langchain-xlm doctor`."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from collections.abc import Iterator

    from langchain_xlm.models.diagnosis import Diagnosis


def doctor(
    *,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write what was found as one object of JSON.")
    ] = False,
) -> None:
    """Tell what this machine can run, and the setting that suits it.

    Every dtype, attention and quantization is tried on a tiny model on every device.
    """
    from langchain_xlm.models.diagnosis import diagnose

    found = diagnose()
    if as_json:
        typer.echo(json.dumps(found.to_dict(), ensure_ascii=False))
    else:
        _show(found)


def _show(found: Diagnosis) -> None:
    from rich import box
    from rich.console import Console
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD)
    table.add_column("")
    table.add_column("found", no_wrap=True)
    table.add_column("remarks", overflow="fold")
    for row in _rows(found):
        table.add_row(*row)
    Console(highlight=False).print(table)


def _rows(found: Diagnosis) -> Iterator[tuple[str, str, str]]:
    from rich.markup import escape

    from langchain_xlm.models.diagnosis import purpose_of

    for name, version in found.packages.items():
        yield name, version or "[red]missing[/]", ""
    for name, version in found.optional.items():
        yield name, version or "[dim]not here[/]", f"for {purpose_of(name)}"
    for device in found.devices:
        free, total = device.free_bytes / 2**30, device.total_bytes / 2**30
        yield (
            f"[bold]{device.name}[/]",
            f"{free:,.1f} GiB free",
            f"of {total:,.1f}, {device.description}",
        )
        for trial in found.trials:
            if trial.device == device.name:
                state = "[green]works[/]" if trial.works else "[yellow]no[/]"
                remark = "; ".join(one for one in (trial.by, trial.remark) if one)
                yield f"  {trial.kind} {trial.name}", state, escape(trial.reason or remark)
    size = "empty" if found.cache_bytes is None else f"{found.cache_bytes / 2**30:,.1f} GiB"
    yield "hub cache", size, escape(found.cache_path)
    advice = found.recommended
    largest = ", ".join(f"{name} {count:,}" for name, count in advice.largest.items())
    yield (
        "[bold]recommended[/]",
        f"device='{advice.device}'",
        f"dtype='auto', which is {advice.dtype} here.\nMillions of parameters that fit: {largest}."
        "\nlangchain-xlm plan MODEL tells for one.",
    )
