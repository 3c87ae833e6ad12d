"""From a cell of a row to a value of an example, or to what is wrong with it."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Final

from langchain_xlm.errors import DataFormatError, InputError
from langchain_xlm.evaluation.rows import Row, Table
from langchain_xlm.text.cleaning import check_text

__all__ = ["READERS"]


def _text(table: Table, row: Row, name: str, cell: object) -> str:
    if isinstance(cell, str) and not cell.strip():
        raise DataFormatError(table.path, f"the {name} is empty.", line=row.line)
    try:
        return check_text(cell, what=name)
    except InputError as error:
        reason = str(error)
        raise DataFormatError(table.path, reason[:1].lower() + reason[1:], line=row.line) from error


def _texts(table: Table, row: Row, name: str, cell: object) -> tuple[str, ...]:
    if not isinstance(cell, (list, tuple)):
        return (_text(table, row, name, cell),)
    if not cell:
        raise DataFormatError(table.path, f"the {name} is empty.", line=row.line)
    return tuple(_text(table, row, name, each) for each in cell)


def _label(table: Table, row: Row, name: str, cell: object) -> str:
    if isinstance(cell, (int, float)) and not isinstance(cell, bool):
        cell = f"{cell:g}"
    return _text(table, row, name, cell).strip()


def _score(table: Table, row: Row, name: str, cell: object) -> float:
    try:
        value = float(cell)  # type: ignore[arg-type]
    except (TypeError, ValueError):
        value = math.nan
    if not math.isfinite(value):
        raise DataFormatError(table.path, f"the {name} {cell!r} is no number.", line=row.line)
    return value


def _relevant(table: Table, row: Row, name: str, cell: object) -> tuple[tuple[str, float], ...]:
    """Ids in a list or between spaces, each with grade 1, or a mapping from id to grade."""
    if isinstance(cell, Mapping):
        found = {str(key): _score(table, row, name, grade) for key, grade in cell.items()}
    else:
        ids = cell if isinstance(cell, (list, tuple)) else str(cell or "").split()
        found = {str(each): 1.0 for each in ids}
    if not any(grade > 0 for grade in found.values()):
        raise DataFormatError(table.path, f"the column {name} names no document.", line=row.line)
    return tuple(found.items())


def _optional(table: Table, row: Row, name: str, cell: object) -> str | None:
    return None if cell is None or not str(cell).strip() else str(cell).strip()


READERS: Final = {
    "text": _text,
    "references": _texts,
    "label": _label,
    "score": _score,
    "relevant": _relevant,
    "group": _optional,
    "title": _optional,
    "id": _label,
}
"""How each field of an example is read: from the table, the row, the column's name and the cell.

Every reader raises `DataFormatError` for a cell that it cannot read.
"""
