"""The report as one HTML file that needs nothing else, and no network."""

from __future__ import annotations

import json
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Any, Final

from langchain_xlm.evaluation.charts import charts
from langchain_xlm.evaluation.report import Figure, Report
from langchain_xlm.evaluation.tasks import need

__all__ = ["render_page", "write_page"]

_MEBIBYTE: Final = 2**20


def write_page(report: Report, path: Path) -> None:
    """Write the page of a report.

    Args:
        report: The report.
        path: The file.
    """
    path.write_text(render_page(report), encoding="utf-8")


def render_page(report: Report) -> str:
    """Put a report on a page, with its charts and the scripts that draw them.

    Args:
        report: The report.

    Returns:
        HTML.
    """
    for package in ("altair", "vl_convert", "jinja2"):
        need(package, needed_for="Writing the page of a report")
    import jinja2

    environment = jinja2.Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True)
    environment.filters |= {"figure": _figure, "mib": _mib, "number": _number, "short": _short}
    template = environment.from_string(
        (files("langchain_xlm.evaluation") / "page.html.jinja").read_text(encoding="utf-8")
    )
    drawn = charts(report)
    return template.render(
        report=report,
        keys=[(figure.key, _heading(figure)) for figure in report.systems[0].figures],
        bests=_bests(report),
        digits={each.key: _digits(each) for each in report.systems[0].figures},
        charts=list(drawn),
        # Inside a script nothing may look like the end of it.
        specs=json.dumps(drawn).replace("<", "\\u003c"),
        bundle=_bundle(),
    )


@lru_cache(maxsize=1)
def _bundle() -> str:
    """Vega, Vega-Lite and Vega-Embed as one script (BSD-3-Clause, University of Washington)."""
    import vl_convert

    script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    return script.replace("</script", "<\\/script")


def _heading(figure: Figure) -> str:
    arrow = {"higher": " ↑", "lower": " ↓", None: ""}[figure.better]
    return f"{figure.title}{arrow}"


def _bests(report: Report) -> dict[str, float]:
    """The best value of each figure among the systems with a model."""
    found: dict[str, float] = {}
    for system in report.systems:
        for figure in system.figures:
            if figure.value is None or figure.better is None or system.model is None:
                continue
            choose = max if figure.better == "higher" else min
            found[figure.key] = choose(found.get(figure.key, figure.value), figure.value)
    return found


def _number(value: float | None, digits: int = 2) -> str:
    return "–" if value is None else f"{value:,.{digits}f}"


def _figure(figure: Figure) -> dict[str, Any]:
    """The words for a figure: its value and its interval."""
    digits = _digits(figure)
    value = _number(figure.value, digits)
    if figure.low is None:
        return {"value": value, "interval": ""}
    return {
        "value": value,
        "interval": f"{_number(figure.low, digits)} to {_number(figure.high, digits)}",
    }


def _digits(figure: Figure) -> int:
    return 1 if figure.unit == "%" else 3


def _short(origin: str) -> str:
    """File and line without the folders."""
    return " + ".join(part.rpartition("/")[2] for part in origin.split("+"))


def _mib(size: int) -> str:
    return f"{size / _MEBIBYTE:,.1f}"
