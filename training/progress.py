"""One line of JSON for each thing worth seeing later: the source of the learning curves."""

from __future__ import annotations

import json
import sys
import time
from pathlib import Path
from typing import TextIO

_files: list[TextIO] = []


def record_to(path: Path) -> None:
    """Append what is logged from now on to a file as well."""
    path.parent.mkdir(parents=True, exist_ok=True)
    _files.append(path.open("a", encoding="utf-8"))


def log(stage: str, **values: float | int | str) -> None:
    """Write one line: the stage, the time of day and the values.

    Args:
        stage: Which part of the recipe speaks.
        values: What it has to say.
    """
    shown = {
        name: float(f"{value:.5g}") if isinstance(value, float) else value
        for name, value in values.items()
    }
    line = json.dumps({"stage": stage, "at": time.strftime("%H:%M:%S"), **shown})
    for stream in (sys.stdout, *_files):
        print(line, file=stream, flush=True)
