"""The two kinds of file that vectors are written to: Parquet and JSON Lines."""

from __future__ import annotations

import json
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Final, Protocol

from langchain_xlm.errors import InputError, MissingDependencyError

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True, slots=True)
class Row:
    """A text with its vector."""

    origin: str
    """File and line that the text came from."""
    text: str
    vector: Sequence[float]


class RowFormat(Protocol):
    """A kind of file that holds rows."""

    suffix: str

    def write(self, path: Path, rows: Sequence[Row], made_by: dict[str, str]) -> None:
        """Write rows and what made their vectors into a new file."""

    def join(self, path: Path, parts: Sequence[Path]) -> None:
        """Write the rows of all parts into a new file, one part in memory at a time."""


class JsonLines:
    """One JSON object for each row; each names the model, so that lines can be moved about."""

    suffix = ".jsonl"

    def write(self, path: Path, rows: Sequence[Row], made_by: dict[str, str]) -> None:
        """Write rows into a new file.

        Args:
            path: The file.
            rows: The rows.
            made_by: What made the vectors.
        """
        with path.open("w", encoding="utf-8") as stream:
            for row in rows:
                # Nine digits are all that a float32 has.
                vector = [float(f"{value:.9g}") for value in row.vector]
                record = {"origin": row.origin, "text": row.text, "vector": vector, **made_by}
                stream.write(json.dumps(record, ensure_ascii=False) + "\n")

    def join(self, path: Path, parts: Sequence[Path]) -> None:
        """Put parts one after the other.

        Args:
            path: The new file.
            parts: The parts, in order.
        """
        with path.open("wb") as stream:
            for part in parts:
                with part.open("rb") as source:
                    shutil.copyfileobj(source, stream)


class Parquet:
    """Columns `origin`, `text` and `vector` (float32); the metadata names the model."""

    suffix = ".parquet"

    def write(self, path: Path, rows: Sequence[Row], made_by: dict[str, str]) -> None:
        """Write rows into a new file.

        Args:
            path: The file.
            rows: The rows; all vectors have one width.
            made_by: What made the vectors, for the metadata of the schema.
        """
        import numpy as np
        from pyarrow import parquet

        pa = _arrow()
        vector = pa.list_(pa.float32(), len(rows[0].vector))
        values = np.array([row.vector for row in rows], dtype=np.float32)
        columns = {"origin": pa.string(), "text": pa.string(), "vector": vector}
        metadata = {f"langchain_xlm.{name}": value for name, value in made_by.items()}
        table = pa.table(
            [
                pa.array([row.origin for row in rows], pa.string()),
                pa.array([row.text for row in rows], pa.string()),
                pa.FixedSizeListArray.from_arrays(pa.array(values.ravel()), type=vector),
            ],
            schema=pa.schema(columns.items(), metadata=metadata),
        )
        parquet.write_table(table, path)

    def join(self, path: Path, parts: Sequence[Path]) -> None:
        """Make each part a row group of a new file.

        Args:
            path: The new file.
            parts: The parts, in order; without any, the file has no rows and no vectors.
        """
        from pyarrow import parquet

        _arrow()
        schema = parquet.read_schema(parts[0]) if parts else _empty_schema()
        with parquet.ParquetWriter(path, schema) as writer:
            for part in parts:
                writer.write_table(parquet.read_table(part, use_threads=False))


def _arrow() -> ModuleType:
    """Arrow with the system's allocator; its own keeps 60 MiB for the few that a part takes."""
    import pyarrow as pa

    pa.set_memory_pool(pa.system_memory_pool())
    return pa  # type: ignore[no-any-return]


def _empty_schema() -> pa.Schema:
    import pyarrow as pa

    columns = {"origin": pa.string(), "text": pa.string(), "vector": pa.list_(pa.float32())}
    return pa.schema(columns.items())


_FORMATS: Final[dict[str, type[JsonLines] | type[Parquet]]] = {
    ".jsonl": JsonLines,
    ".ndjson": JsonLines,
    ".parquet": Parquet,
}


def format_for(output: Path) -> RowFormat:
    """Choose the format by the name of the output file.

    Args:
        output: The file that the user asked for.

    Returns:
        The format.

    Raises:
        InputError: The name ends in something else.
        MissingDependencyError: Parquet was asked for, but pyarrow is not installed.
    """
    kind = _FORMATS.get(output.suffix.lower())
    if kind is None:
        raise InputError(
            f"{output} does not say what to write: its name must end in {', '.join(_FORMATS)}."
        )
    if kind is Parquet:
        try:
            import pyarrow  # noqa: F401
        except ImportError:
            raise MissingDependencyError(
                "pyarrow", needed_for=f"Writing {output}", extra="parquet"
            ) from None
    return kind()
