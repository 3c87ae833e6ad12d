"""From files to examples: which column holds what, and what is wrong with a row."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from langchain_xlm.errors import ConfigurationError, DataFormatError
from langchain_xlm.evaluation.cells import READERS
from langchain_xlm.evaluation.examples import Document, Example, ExampleSet
from langchain_xlm.evaluation.rows import TABULAR, Row, Table, read_lines, read_objects, read_table

__all__ = ["LAYOUTS", "Column", "DataSource", "Layout", "read_corpus", "read_examples"]

BLANK: Final = "blank line"


@dataclass(frozen=True, slots=True)
class Column:
    """A column that a task reads.

    Attributes:
        field: The field of `Example` that it fills.
        names: What it may be called in a header; the first is what `columns` calls it.
        position: Which column it is where a file names none, from 1; None is then not read.
        required: Whether every file must have it.
    """

    field: str
    names: tuple[str, ...]
    position: int | None = None
    required: bool = True


@dataclass(frozen=True, slots=True)
class Layout:
    """The columns of the files of one task."""

    columns: tuple[Column, ...]

    def names(self) -> set[str]:
        """Return every name that a column may have in a header."""
        return {name for column in self.columns for name in column.names}


_GROUP: Final = Column("group", ("language", "lang", "group"), required=False)

LAYOUTS: Final[Mapping[str, Layout]] = {
    "translation": Layout(
        (
            Column("text", ("source", "src", "text"), 1),
            Column("references", ("reference", "references", "ref", "target", "translation"), 2),
            _GROUP,
        )
    ),
    "summarization": Layout(
        (
            Column("text", ("document", "text", "article", "source"), 1),
            Column("references", ("summary", "summaries", "reference", "highlights", "target"), 2),
            _GROUP,
        )
    ),
    "sentiment": Layout(
        (
            Column("text", ("text", "sentence", "review"), 1),
            Column("label", ("label", "sentiment", "polarity"), 2),
            _GROUP,
        )
    ),
    "bitext": Layout(
        (
            Column("text", ("left", "sentence1", "source", "text1"), 1),
            Column("references", ("right", "sentence2", "target", "text2", "reference"), 2),
            _GROUP,
        )
    ),
    "sts": Layout(
        (
            Column("text", ("left", "sentence1", "text1"), 1),
            Column("references", ("right", "sentence2", "text2"), 2),
            Column("score", ("score", "similarity", "label"), 3),
            _GROUP,
        )
    ),
    "retrieval": Layout(
        (
            Column("text", ("query", "text", "question"), 1),
            Column("relevant", ("relevant", "relevant_ids", "answers"), 2),
            _GROUP,
        )
    ),
    "corpus": Layout(
        (
            Column("id", ("id", "_id", "docid"), 1),
            Column("text", ("text", "document", "passage"), 2),
            Column("title", ("title",), required=False),
        )
    ),
}
"""What the files of each task hold."""


@dataclass(frozen=True, slots=True)
class DataSource:
    """A file, or two aligned text files, or rows in memory, whose examples form a group.

    Attributes:
        data: One path, two paths of text files with a line for each other, or rows such as a
            `datasets.Dataset`.
        group: What its results are shown under; None takes the column `language`, if any.
    """

    data: Path | tuple[Path, Path] | Iterable[object]
    group: str | None = None


def pair_files(paths: Sequence[tuple[str | None, Path]]) -> list[DataSource]:
    """Put text files together in pairs and leave files with columns alone.

    Args:
        paths: The files in order, each with its group.

    Returns:
        A source for each file with columns and for each two neighbouring text files.

    Raises:
        ConfigurationError: A text file has no partner.
    """
    sources: list[DataSource] = []
    waiting: tuple[str | None, Path] | None = None
    for group, path in paths:
        if path.suffix.lower() not in TABULAR:
            if waiting is None:
                waiting = (group, path)
                continue
            sources.append(DataSource((waiting[1], path), waiting[0] or group))
            waiting = None
            continue
        if waiting is not None:
            break
        sources.append(DataSource(path, group))
    if waiting is not None:
        raise ConfigurationError(
            f"{waiting[1]} is text without columns, so a second text file with a line for each of"
            f" its lines must follow it. Files with columns end in {', '.join(TABULAR)}."
        )
    return sources


def read_examples(
    sources: Iterable[DataSource],
    layout: Layout,
    *,
    columns: Mapping[str, str] | None = None,
    skip_invalid: bool = False,
) -> ExampleSet:
    """Read the examples of a task.

    Args:
        sources: Where they are.
        layout: The columns of the task.
        columns: Names (or numbers, from 1) that files give columns instead of the usual ones,
            by the first of the usual ones.
        skip_invalid: Whether a row that cannot be used is left out and counted; otherwise it is
            an error.

    Returns:
        The examples, with the number of rows and of those left out.

    Raises:
        DataFormatError: A file that cannot be read, a column that is missing, or a row that
            cannot be used: file and line are named.
    """
    chosen = _chosen(layout, columns or {})
    found: list[Example] = []
    files: list[str] = []
    skipped: Counter[str] = Counter()
    rows = 0
    for source in sources:
        table = _table(source, chosen)
        files += [table.path]
        rows += len(table.rows) + table.blank
        skipped[BLANK] += table.blank
        for row in table.rows:
            try:
                found.append(Example(**_values(table, row, chosen, source.group)))
            except DataFormatError as error:
                if not skip_invalid or error.line is None:
                    raise
                skipped[_reason(error)] += 1
    if not found:
        raise DataFormatError(", ".join(files) or "data", "no example was found.")
    return ExampleSet(
        tuple(found),
        files=tuple(files),
        rows=rows,
        skipped={reason: count for reason, count in skipped.items() if count},
    )


def read_corpus(
    source: DataSource, *, columns: Mapping[str, str] | None = None
) -> tuple[Document, ...]:
    """Read the documents that queries are answered from.

    Args:
        source: Where they are.
        columns: As for `read_examples`.

    Returns:
        The documents; a title stands in front of its text.

    Raises:
        DataFormatError: A document cannot be read, or two have one id.
    """
    chosen = _chosen(LAYOUTS["corpus"], columns or {})
    table = _table(source, chosen)
    found: dict[str, Document] = {}
    for row in table.rows:
        values = _values(table, row, chosen, None)
        title = values.get("title")
        text = f"{title}\n{values['text']}" if title else values["text"]
        document = Document(values["id"], text, f"{table.path}:{row.line}")
        if document.id in found:
            raise DataFormatError(
                table.path,
                f"the id {document.id!r} is that of {found[document.id].origin} as well.",
                line=row.line,
            )
        found[document.id] = document
    return tuple(found.values())


def _chosen(layout: Layout, renamed: Mapping[str, str]) -> Layout:
    known = {column.names[0]: column for column in layout.columns}
    for name in renamed:
        if name not in known:
            raise ConfigurationError(
                f"columns has {name!r}, which is no column here. Give one of {', '.join(known)}."
            )
    columns = []
    for name, column in known.items():
        if name not in renamed:
            # A position that another column was given is not this one's any more.
            taken = str(column.position) in renamed.values()
            columns.append(
                Column(
                    column.field, column.names, None if taken else column.position, column.required
                )
            )
            continue
        given = renamed[name]
        position = int(given) if given.isdecimal() else None
        columns.append(Column(column.field, (given,), position, required=True))
    return Layout(tuple(columns))


def _table(source: DataSource, layout: Layout) -> Table:
    data = source.data
    if isinstance(data, tuple):
        return _aligned(*data)
    if not isinstance(data, Path):
        return read_objects(data)
    if data.suffix.lower() not in TABULAR:
        raise ConfigurationError(
            f"{data} is text without columns: give the two sides as two files. Files with columns"
            f" end in {', '.join(TABULAR)}."
        )
    return read_table(data, names=layout.names())


def _aligned(left: Path, right: Path) -> Table:
    sides = read_lines(left), read_lines(right)
    if len(sides[0]) != len(sides[1]):
        counts = f"{len(sides[0])} and {len(sides[1])} lines"
        longer = left if len(sides[0]) > len(sides[1]) else right
        raise DataFormatError(
            str(longer),
            f"the first line without a partner: {left} and {right} have {counts}.",
            line=min(map(len, sides)) + 1,
        )
    rows = [
        Row(number, {"1": one, "2": other})
        for number, (one, other) in enumerate(zip(*sides, strict=True), start=1)
        if one.strip() or other.strip()
    ]
    return Table(f"{left}+{right}", tuple(rows), blank=len(sides[0]) - len(rows))


def _values(table: Table, row: Row, layout: Layout, group: str | None) -> dict[str, Any]:
    values: dict[str, Any] = {}
    for column in layout.columns:
        name = column.names[0]
        cell = _cell(table, row, column)
        if cell is None and not column.required:
            continue
        values[column.field] = READERS[column.field](table, row, name, cell)
    if group is not None:
        values["group"] = group
    if "id" not in values:
        values["origin"] = f"{table.path}:{row.line}"
    return values


def _cell(table: Table, row: Row, column: Column) -> Any:
    folded = {key.casefold(): key for key in row.cells}
    for name in column.names:
        if name.casefold() in folded:
            return row.cells[folded[name.casefold()]]
    if column.position is not None and str(column.position) in row.cells:
        return row.cells[str(column.position)]
    if not column.required:
        return None
    there = ", ".join(row.cells)
    wanted = column.names[0]
    also = "" if len(column.names) == 1 else f" (or {', '.join(column.names[1:])})"
    raise DataFormatError(
        table.path,
        f"no column {wanted!r}{also}; it has {there}. Name the column that holds it with"
        f" columns={wanted}=NAME.",
        line=row.line,
    )


def _reason(error: DataFormatError) -> str:
    """The sentence of an error without its place, to count by."""
    return str(error).removeprefix(f"{error.path}:{error.line}: ").rstrip(".")
