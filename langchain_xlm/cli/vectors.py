"""Vectors on their way to a file, kept in parts so that a job that is killed can go on."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import IO, Any, Final, Self

from langchain_xlm.cli.rows import Row, RowFormat
from langchain_xlm.errors import InputError

_MANIFEST: Final = "manifest.json"
_JOURNAL: Final = "journal.jsonl"


@dataclass(frozen=True, slots=True)
class Identity:
    """What made the vectors: files of different identities must not be mixed."""

    model: str
    fingerprint: str
    """Covers everything that changes a vector."""


@dataclass(frozen=True, slots=True)
class Part:
    """A finished part: so many rows, and what their texts were."""

    number: int
    rows: int
    digest: str


def digest(rows: Sequence[Row]) -> str:
    """Sum up which texts rows were made of.

    Args:
        rows: The rows of a part.

    Returns:
        A hexadecimal digest of origins and texts.
    """
    state = hashlib.sha256()
    for row in rows:
        for field in (row.origin, row.text):
            raw = field.encode("utf-8", "surrogatepass")
            state.update(len(raw).to_bytes(8, "little") + raw)
    return state.hexdigest()


class PartFolder:
    """The parts of an output file, in a folder beside it until the job is done.

    A part counts once its line stands in the journal, which is written after the part itself
    has reached the disk. So a kill at any moment loses at most the part in the making.

    Use it in a `with` block, at whose end another process may take the folder up.
    """

    def __init__(self, output: Path, identity: Identity, rows: RowFormat) -> None:
        self.output = output
        self.folder = output.with_name(output.name + ".parts")
        self.identity = identity
        self._rows = rows
        self._lock: IO[str] | None = None

    def __enter__(self) -> Self:
        """Return the folder, not opened yet."""
        return self

    def __exit__(self, *failure: object) -> None:
        """Let another process take up the folder."""
        if self._lock is not None:
            self._lock.close()
            self._lock = None

    def open(self, *, overwrite: bool) -> list[Part]:
        """Make the folder, or take up what an earlier run left there.

        Args:
            overwrite: Whether an output file or parts that exist are thrown away.

        Returns:
            The finished parts, in order.

        Raises:
            InputError: The output exists, or the parts were made by another model or are being
                written by another process.
        """
        if self.output.exists() and not overwrite:
            raise InputError(
                f"{self.output} exists already. Give another --output, or --overwrite to"
                " replace it."
            )
        self.folder.mkdir(parents=True, exist_ok=True)
        self._lock_folder()
        if overwrite:
            for path in self.folder.iterdir():
                path.unlink()
        manifest = self.folder / _MANIFEST
        if not manifest.exists():
            _write(manifest, json.dumps(asdict(self.identity)))
        self._refuse_others(json.loads(manifest.read_text("utf-8")))
        return list(self._journal())

    def add(self, number: int, rows: Sequence[Row]) -> None:
        """Write a part and enter it in the journal.

        Args:
            number: Its place among the parts, from 0.
            rows: Its rows.
        """
        path = self._path(number)
        unfinished = path.with_suffix(".unfinished")
        self._rows.write(unfinished, rows, asdict(self.identity))
        _sync(unfinished)
        unfinished.replace(path)
        line = json.dumps(asdict(Part(number, len(rows), digest(rows))))
        with (self.folder / _JOURNAL).open("a", encoding="utf-8") as journal:
            journal.write(line + "\n")
            journal.flush()
            os.fsync(journal.fileno())

    def finish(self, parts: int) -> None:
        """Join the parts into the output file and remove them.

        Args:
            parts: How many there are.
        """
        unfinished = self.output.with_name(self.output.name + ".unfinished")
        self._rows.join(unfinished, [self._path(number) for number in range(parts)])
        _sync(unfinished)
        unfinished.replace(self.output)
        shutil.rmtree(self.folder)
        self.folder.with_suffix(".lock").unlink()

    def _path(self, number: int) -> Path:
        return self.folder / f"{number:06d}{self._rows.suffix}"

    def _journal(self) -> Iterator[Part]:
        journal = self.folder / _JOURNAL
        if not journal.exists():
            return
        lines = journal.read_bytes().splitlines(keepends=True)
        if lines and not lines[-1].endswith(b"\n"):
            # The kill came in the middle of this line: the part is made anew.
            os.truncate(journal, sum(map(len, lines[:-1])))
            lines.pop()
        for number, line in enumerate(lines):
            part = Part(**json.loads(line))
            if part.number != number or not self._path(number).exists():
                raise InputError(
                    f"{self.folder} is damaged: part {number} is missing. Give --overwrite to"
                    " start anew."
                )
            yield part

    def _refuse_others(self, manifest: dict[str, Any]) -> None:
        if manifest == asdict(self.identity):
            return
        other = manifest.get("model")
        reason = (
            f"of another model ({other}; this is {self.identity.model})"
            if other != self.identity.model
            else f"of another version or setting of {other}"
        )
        raise InputError(
            f"{self.folder} holds vectors {reason}, and the two must not be mixed. Go on with"
            " the first, give another --output, or --overwrite to start anew."
        )

    def _lock_folder(self) -> None:
        # Beside the folder, not in it: what is in it may be thrown away.
        self._lock = self.folder.with_suffix(".lock").open("w")
        if sys.platform != "win32":
            import fcntl

            try:
                fcntl.flock(self._lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise InputError(f"{self.output} is being written by another process.") from None


def _write(path: Path, text: str) -> None:
    unfinished = path.with_name(path.name + ".unfinished")
    unfinished.write_text(text, encoding="utf-8")
    _sync(unfinished)
    unfinished.replace(path)


def _sync(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())
