"""The page of the site that shows the figures of the starter models."""

from __future__ import annotations

import pytest

from benchmarks.figures import together
from benchmarks.figures_page import write_figures_page
from tests.evaluation.reports import full_report, system


def test_reports_become_a_page_without_texts(tmp_path):
    report = full_report()
    report.write_json(tmp_path / "jsts.json")
    (tmp_path / "jsts.memory.svg").write_text("<svg/>")
    page = tmp_path / "figures.md"
    write_figures_page(tmp_path, page, order=["jsts", "missing"])
    text = page.read_text("utf-8")
    assert "## JSTS: likeness of Japanese sentences" in text
    assert "| starter · 4bit | 66.0 [63.5, 68.5] | – |" in text
    assert "| starter · 4bit | 12.0 | 24 | 0.70 | 30.0 | 60.0 | 66.7 |" in text
    assert "![memory](figures/jsts.memory.svg)" in text
    assert "Was ist" not in text
    assert "missing" not in text


def test_directions_become_groups_and_their_mean():
    one = full_report()
    changed = one.model_copy(update={"systems": (system("starter", 51.0, model="starter"),)})
    joined = together({"de → en": one, "en → de": changed})
    (first, *_) = joined.systems
    assert [group.group for group in first.groups] == ["de → en", "en → de"]
    assert first.figures[0].value == pytest.approx((71 + 51) / 2)
    assert first.figures[0].low is None
    assert first.figures[1].value is None
    assert joined.data.examples == 40
    assert "source_language" not in joined.settings
