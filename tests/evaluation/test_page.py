from __future__ import annotations

import json
import re
import shutil
import subprocess
from pathlib import Path

import pytest

from langchain_xlm.errors import DataFormatError, MissingDependencyError
from langchain_xlm.evaluation.charts import charts, pareto_front, write_charts
from langchain_xlm.evaluation.page import render_page, write_page
from langchain_xlm.evaluation.report import Report
from tests.evaluation.reports import full_report

BROWSER = next(
    filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome", "chrome"))),
    None,
)
NAMES = [
    "quality",
    "memory",
    "speed",
    "latency",
    "groups",
    "confusion-0",
    "calibration-0",
    "similarity-0",
]
DOCS = Path(__file__).parents[2] / "docs"


def test_a_chart_for_everything_that_the_report_has():
    assert list(charts(full_report())) == NAMES
    bare = full_report()
    plain = [
        each.model_copy(
            update={
                "cost": None,
                "groups": (),
                "confusion": None,
                "calibration": (),
                "similarity": (),
            }
        )
        for each in bare.systems
    ]
    assert list(charts(bare.model_copy(update={"systems": tuple(plain)}))) == ["quality"]


def test_charts_hold_the_figures_of_the_report():
    drawn = charts(full_report())
    rows = drawn["quality"]["layer"][0].get("data", drawn["quality"].get("data"))["values"]
    assert [(row["system"], row["value"], row["low"]) for row in rows][:2] == [
        ("starter", 71.0, 68.5),
        ("starter · 4bit", 66.0, 63.5),
    ]
    assert {row["system"]: row["kind"] for row in rows}["always pos"] == "baseline"


def test_the_front_leaves_out_what_is_heavier_and_worse():
    systems = full_report().systems[:3]
    assert [each.name for each in pareto_front(systems)] == ["starter · 4bit", "starter"]
    worse = [
        each.model_copy(
            update={
                "figures": tuple(
                    figure.model_copy(update={"better": "lower"}) for figure in each.figures
                )
            }
        )
        for each in systems
    ]
    assert [each.name for each in pareto_front(worse)] == ["starter · 4bit", "starter · 8bit"]


def test_charts_are_drawn_without_a_browser(tmp_path):
    paths = write_charts(full_report(), tmp_path / "charts")
    assert [path.stem for path in paths] == NAMES
    for path in paths:
        text = path.read_text(encoding="utf-8")
        assert text.startswith("<svg")
        assert "Was ist" not in text, "no text of the data"
    assert "starter · 4bit" in paths[1].read_text(encoding="utf-8")


def test_the_page_asks_for_nothing_outside():
    page = render_page(full_report())
    body, scripts = page.partition("<script>")[::2]
    assert not re.search(r"(src|href)\s*=", body)
    assert "@import" not in body
    assert "default-src 'none'" in body
    assert scripts.count("</script>") == 2, "no text of the data ends a script"


def test_texts_of_the_data_are_text_in_the_page():
    page = render_page(full_report())
    assert "Was ist &lt;b&gt;das&lt;/b&gt;? &lt;/script&gt;" in page
    assert "<b>das" not in page
    assert "everything &lt;/script&gt;" in page
    assert "/data/some folder/" not in page.partition("<script>")[0], "only names of files"
    assert "fr &amp;" not in page.partition("const specs")[2], "charts get names as they are"


def test_the_page_tells_figures_costs_and_differences():
    page = render_page(full_report()).partition("<script>")[0]
    for words in (
        "71.0",
        "68.5 to 73.5",
        "–",
        "40.0",
        "0.010",
        "-5.0",
        "3 left out: blank line",
        "refused 2 of the inputs",
        "de → en",
        "by hand",
    ):
        assert words in page, words


@pytest.mark.skipif(BROWSER is None, reason="no Chromium on this machine")
@pytest.mark.timeout(900)
def test_a_browser_without_network_draws_every_chart(tmp_path):
    path = tmp_path / "report.html"
    write_page(full_report(), path)
    assert path.stat().st_size < 2_000_000
    run = subprocess.run(
        [
            BROWSER,
            "--headless",
            "--no-sandbox",
            "--disable-gpu",
            "--disable-dev-shm-usage",
            f"--user-data-dir={tmp_path / 'profile'}",
            "--proxy-server=127.0.0.1:9",
            "--virtual-time-budget=60000",
            "--dump-dom",
            path.as_uri(),
        ],
        capture_output=True,
        text=True,
        timeout=800,
        check=True,
    )
    page = run.stdout
    assert "data-failed" not in page, page[page.find("data-failed") :][:200]
    assert f'data-drawn="{len(NAMES)}"' in page
    for name in NAMES:
        (chart,) = re.findall(rf'<div id="chart-{name}".*?</svg>', page, re.DOTALL)
        assert "<path" in chart
        assert 'class="mark-' in chart
    assert "<title>Evaluation: everything" in page, "the text of an example ran as a script"


def test_reports_survive_the_way_through_json(tmp_path):
    report = full_report()
    report.write_json(tmp_path / "report.json")
    assert Report.read_json(tmp_path / "report.json") == report
    assert report.system("starter").figure("accuracy").value == 71
    with pytest.raises(KeyError, match="starter · 4bit"):
        report.system("nobody")
    with pytest.raises(KeyError, match="accuracy, ece"):
        report.systems[0].figure("bleu")
    (tmp_path / "other.json").write_text('{"schema_version": 2}')
    with pytest.raises(DataFormatError, match=r"other\.json: not a report of this version"):
        Report.read_json(tmp_path / "other.json")


def test_the_documented_schema_is_that_of_the_code():
    documented = json.loads((DOCS / "report.schema.json").read_text(encoding="utf-8"))
    assert documented == Report.model_json_schema(mode="serialization")


def test_a_missing_package_is_named(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(MissingDependencyError, match=r"langchain-xlm\[evaluation\]"):
        render_page(full_report())
