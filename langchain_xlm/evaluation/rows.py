"""From a file of any kind to its rows, each with the line that it stands in."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from langchain_xlm.errors import DataFormatError, MissingDependencyError

__all__ = ["TABULAR", "Row", "Table", "read_lines", "read_objects", "read_table"]


@dataclass(frozen=True, slots=True)
class Row:
    """One row of a file.

    Attributes:
        line: Where it begins in the file, from 1; in Parquet and datasets its number.
        cells: Its values: by name where the file names its columns, else by number from "1".
    """

    line: int
    cells: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of one file.

    Attributes:
        path: The file as the caller named it.
        rows: Its rows, in order.
        blank: How many of its lines are blank; they are no rows.
    """

    path: str
    rows: tuple[Row, ...]
    blank: int = 0


def read_table(path: Path, *, names: Iterable[str]) -> Table:
    """Read a TSV, CSV, JSON Lines or Parquet file.

    TSV is plain: a tab ends a cell, a line break ends a row, and quotes are part of the text. In
    CSV quotes may enclose line breaks. The first row of either is a header if one of its cells is
    among `names`, in any case of letters.

    Args:
        path: The file; its suffix says what it is.
        names: Names that columns may have.

    Returns:
        Its rows.

    Raises:
        DataFormatError: The file is not UTF-8, a line is not JSON, or the rows have different
            numbers of cells.
        MissingDependencyError: It is a Parquet file, and pyarrow is not installed.
    """
    return TABULAR[path.suffix.lower()](path, {name.casefold() for name in names})


def read_objects(rows: Iterable[object], *, name: str = "dataset") -> Table:
    """Take rows that are in memory, such as those of a `datasets.Dataset`.

    Args:
        rows: Mappings from column to value.
        name: What to call them in messages.

    Returns:
        The rows, numbered from 1.

    Raises:
        DataFormatError: A row is no mapping.
    """
    taken = []
    for number, row in enumerate(rows, start=1):
        if not isinstance(row, Mapping):
            raise DataFormatError(
                name,
                f"the row is a {type(row).__name__}; it must map column names to values.",
                line=number,
            )
        taken.append(Row(number, {str(key): value for key, value in row.items()}))
    return Table(name, tuple(taken))


def read_lines(path: Path) -> list[str]:
    """Read a text file line by line; only a line feed ends a line, with or without return.

    Args:
        path: The file, UTF-8, with or without a byte order mark.

    Returns:
        Its lines.

    Raises:
        DataFormatError: It is not UTF-8.
    """
    lines = _decode(path).split("\n")
    if lines[-1] == "":  # the last line is ended by a line feed as well
        lines.pop()
    return [line.removesuffix("\r") for line in lines]


def _decode(path: Path) -> str:
    raw = path.read_bytes()
    try:
        return raw.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        # Offsets count from behind the byte order mark, which has no line feed.
        line = error.object[: error.start].count(b"\n") + 1
        raise DataFormatError(
            str(path),
            f"not UTF-8: byte 0x{error.object[error.start]:02x} does not belong there. Convert the"
            " file first, for example with `iconv -f latin1 -t utf-8`.",
            line=line,
        ) from error


def _read_tsv(path: Path, names: set[str]) -> Table:
    numbered = [(n, line) for n, line in enumerate(read_lines(path), start=1)]
    cells = [(number, line.split("\t")) for number, line in numbered if line.strip()]
    return _from_cells(path, cells, names, blank=len(numbered) - len(cells))


def _read_csv(path: Path, names: set[str]) -> Table:
    text = _decode(path)
    reader = csv.reader(io.StringIO(text, newline=""), strict=True)
    cells: list[tuple[int, list[str]]] = []
    blank, begins = 0, 1
    try:
        for record in reader:
            if any(cell.strip() for cell in record):
                cells.append((begins, record))
            else:
                blank += 1
            begins = reader.line_num + 1
    except csv.Error as error:
        raise DataFormatError(str(path), f"not CSV: {error}.", line=begins) from error
    return _from_cells(path, cells, names, blank=blank)


def _from_cells(
    path: Path, cells: Sequence[tuple[int, list[str]]], names: set[str], *, blank: int
) -> Table:
    if not cells:
        return Table(str(path), (), blank)
    first = [cell.strip() for cell in cells[0][1]]
    has_header = any(cell.casefold() in names for cell in first)
    keys = first if has_header else [str(number) for number in range(1, len(first) + 1)]
    if len(set(keys)) < len(keys):
        twice = next(key for key in keys if keys.count(key) > 1)
        raise DataFormatError(str(path), f"two columns are called {twice!r}.", line=cells[0][0])
    rows = []
    for line, row in cells[1 if has_header else 0 :]:
        if len(row) != len(keys):
            raise DataFormatError(
                str(path),
                f"{len(row)} cells where the first row has {len(keys)}.",
                line=line,
            )
        rows.append(Row(line, dict(zip(keys, row, strict=True))))
    return Table(str(path), tuple(rows), blank)


def _read_jsonl(path: Path, names: set[str]) -> Table:
    rows = list(_objects(path))
    lines = [line for line, value in rows if value is not None]
    taken = tuple(Row(line, value) for line, value in rows if value is not None)
    return Table(str(path), taken, blank=len(rows) - len(lines))


def _objects(path: Path) -> Iterator[tuple[int, dict[str, Any] | None]]:
    for number, line in enumerate(read_lines(path), start=1):
        if not line.strip():
            yield number, None
            continue
        try:
            value = json.loads(line)
        except json.JSONDecodeError as error:
            raise DataFormatError(
                str(path), f"not JSON: {error.msg} in column {error.colno}.", line=number
            ) from error
        if not isinstance(value, dict):
            raise DataFormatError(
                str(path), f"a JSON {type(value).__name__} where an object must be.", line=number
            )
        yield number, value


def _read_parquet(path: Path, names: set[str]) -> Table:
    try:
        import pyarrow as pa
        from pyarrow import parquet
    except ImportError:
        raise MissingDependencyError(
            "pyarrow", needed_for=f"Reading {path}", extra="parquet"
        ) from None
    try:
        rows = parquet.read_table(path).to_pylist()
    except pa.ArrowException as error:
        reason = str(error).strip().splitlines()[0].rstrip(".")
        raise DataFormatError(str(path), f"not Parquet: {reason}.") from error
    return Table(str(path), tuple(Row(number, row) for number, row in enumerate(rows, start=1)))


TABULAR: Final[Mapping[str, Callable[[Path, set[str]], Table]]] = {
    ".tsv": _read_tsv,
    ".csv": _read_csv,
    ".jsonl": _read_jsonl,
    ".ndjson": _read_jsonl,
    ".parquet": _read_parquet,
}
"""Suffixes of files that hold several columns; any other file is text, line by line."""
