"""The table of plan against measurement is that of the figures beside the page."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from benchmarks import vocabulary_page
from benchmarks.memory_page import FIGURES, PAGE, WHAT, error_of, merge, table, write_page


def case(family: str, setting: str, planned: int, measured: int = 100) -> dict[str, Any]:
    return {
        "family": family,
        "setting": setting,
        "planned": dict.fromkeys(WHAT, planned),
        "measured": dict.fromkeys(WHAT, measured),
    }


def test_page_shows_the_figures(tmp_path: Path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path / "page.md"))
    write_page(FIGURES, page)
    assert page.read_text("utf-8") == PAGE.read_text("utf-8")


def test_page_shows_the_figures_of_the_vocabulary(tmp_path: Path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path / "page.md"))
    vocabulary_page.write_page(vocabulary_page.FIGURES, page)
    assert page.read_text("utf-8") == PAGE.read_text("utf-8")


def test_a_case_replaces_its_older_self_and_the_worst_is_named(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "cases.json"
    machine = json.loads(FIGURES.read_text("utf-8"))["machine"]
    order = [("a", "x"), ("a", "y"), ("b", "x")]
    for row in (case("b", "x", 95), case("a", "x", 120), case("a", "x", 88)):
        merge(path, machine, row, order=order)
    figures = json.loads(path.read_text("utf-8"))
    assert [(row["family"], error_of(row, "loading")) for row in figures["cases"]] == [
        ("a", 88 / 100 - 1),
        ("b", 95 / 100 - 1),
    ]
    shown = table(figures)
    assert "1 of 2 cases are within 10%" in shown
    assert "-12.0% of weights (a, x)" in shown
