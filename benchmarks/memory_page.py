"""The table of plan against measurement in `docs/hardware.md`, from the figures beside it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

DOCS = Path(__file__).parent.parent / "docs"
FIGURES = DOCS / "figures" / "memory" / "cases.json"
PAGE = DOCS / "hardware.md"
BEGIN, END = "<!-- python -m benchmarks.memory: begin -->\n", "<!-- end -->\n"
WHAT = ("weights", "loading", "running")


def error_of(row: dict[str, Any], name: str) -> float:
    """Tell how far a plan is off.

    Args:
        row: A case.
        name: One of `WHAT`.

    Returns:
        Planned over measured, less one.
    """
    error: float = row["planned"][name] / row["measured"][name] - 1
    return error


def line_of(row: dict[str, Any]) -> str:
    """Write one row of the table.

    Args:
        row: A case.

    Returns:
        A line of Markdown, sizes in MiB.
    """
    cells = [row["family"], row["setting"]]
    for name in WHAT:
        plan, found = row["planned"][name] / 2**20, row["measured"][name] / 2**20
        cells += [f"{plan:.1f}", f"{found:.1f}", f"{error_of(row, name):+.1%}"]
    return f"| {' | '.join(cells)} |"


def merge(
    path: Path, machine: dict[str, Any], row: dict[str, Any], *, order: Sequence[tuple[str, str]]
) -> None:
    """Put a case into the file of figures, in place of an older one.

    Args:
        path: The file; it is made where there is none.
        machine: Where and with what it was measured.
        row: The case.
        order: The families and settings in the order of the table.
    """
    old = json.loads(path.read_text("utf-8"))["cases"] if path.exists() else []
    cases = {(case["family"], case["setting"]): case for case in [*old, row]}
    rows = [cases[key] for key in order if key in cases]
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"machine": machine, "cases": rows}, indent=1) + "\n", "utf-8")


def where_of(machine: dict[str, Any]) -> str:
    """Name a machine without a GPU.

    Args:
        machine: What `benchmarks.memory.machine_of` gave.

    Returns:
        The processor and what it has units for.
    """
    units = [
        f"with{'' if machine[f'{name}_units'] else 'out'} {name} units"
        for name in ("bfloat16", "int8")
    ]
    return (
        f"{machine['processor']} ({machine['family']}, {machine['instructions']},"
        f" {', '.join(units)}), no GPU"
    )


def table(figures: dict[str, Any]) -> str:
    """Write the whole part of the page.

    Args:
        figures: What the file of figures holds.

    Returns:
        Markdown: where it was measured, every case, and the worst errors.
    """
    machine, rows = figures["machine"], figures["cases"]
    load = machine["load"]
    where = machine["device"] or where_of(machine)
    versions = [f"{name} {machine[name]}" for name in ("torch", "transformers", "bitsandbytes")]
    worst = [max(rows, key=lambda row: abs(error_of(row, name))) for name in WHAT]
    named = [
        f"{error_of(row, name):+.1%} of {name} ({row['family']}, {row['setting']})"
        for name, row in zip(WHAT, worst, strict=True)
    ]
    within = sum(all(abs(error_of(row, name)) <= 0.1 for name in WHAT) for row in rows)
    lines = [
        f"{where};",
        f"{', '.join(versions)}; MiB;",
        f"{load['batch']} texts of {load['length']} tokens, {load['new_tokens']} written with"
        f" {load['beams']} beams.",
        "",
        "| family | setting | weights: plan | measured | | loading: plan | measured | |"
        " running: plan | measured | |",
        "|---|---" + "|---:" * 9 + "|",
        *map(line_of, rows),
        "",
        f"{within} of {len(rows)} cases are within 10% in all three. The worst errors:",
        f"{', '.join(named)}.",
    ]
    return "\n".join(lines) + "\n"


def write_page(path: Path, page: Path) -> None:
    """Put the table into the page.

    Args:
        path: The file of figures.
        page: The page, with the two marks around the old table.
    """
    before, _, rest = page.read_text("utf-8").partition(BEGIN)
    _, _, after = rest.partition(END)
    new = table(json.loads(path.read_text("utf-8")))
    page.write_text(f"{before}{BEGIN}\n{new}\n{END}{after}", "utf-8")
