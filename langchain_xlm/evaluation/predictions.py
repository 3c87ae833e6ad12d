"""Predictions on the disk as they are made, so that a run that is killed can go on."""

from __future__ import annotations

import hashlib
import json
import os
import re
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any, Final, Self

from langchain_xlm.errors import InputError

__all__ = ["FolderLock", "Prediction", "PredictionFile"]

Prediction = dict[str, Any]
"""What a model said to one input: JSON values by name."""

_SLUG: Final = re.compile(r"[^\w.-]+")


class FolderLock:
    """Keeps a second process out of an output folder while a `with` block lasts."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._stream: IO[str] | None = None

    def __enter__(self) -> Self:
        """Take the folder.

        Returns:
            This lock.

        Raises:
            InputError: Another process has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        self._stream = (self.folder / ".lock").open("w")
        if sys.platform != "win32":
            import fcntl

            try:
                # Let go by the system when the process ends, in whatever way.
                fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                self._stream.close()
                raise InputError(
                    f"{self.folder} is being written by another process. Wait for it, or give"
                    " another output folder."
                ) from None
        return self

    def __exit__(self, *failure: object) -> None:
        """Let go of it."""
        if self._stream is not None:
            self._stream.close()


class PredictionFile:
    """The predictions of one system for one set of inputs: a line of JSON each, in order.

    Its name holds a digest of everything that bears on the predictions, so that those of another
    model, version, setting or data are never taken for these.
    """

    def __init__(self, folder: Path, name: str, identity: Mapping[str, Any]) -> None:
        """Name the file; nothing is read or written yet.

        Args:
            folder: Where it lies.
            name: Of the system, for people.
            identity: Everything that bears on the predictions, as JSON values.
        """
        written = json.dumps(identity, sort_keys=True).encode()
        digest = hashlib.sha256(written).hexdigest()
        self.path = folder / f"{_SLUG.sub('-', name)}-{digest[:16]}.jsonl"

    def read(self, *, chunk: int, inputs: int) -> list[Prediction]:
        """Return the predictions of an earlier run, cut back to whole chunks.

        A chunk is predicted as one batch, and floats differ in the last digits from batch to
        batch: only whole chunks make a run that goes on equal to one that was never stopped.

        Args:
            chunk: How many are made at a time.
            inputs: How many there are to make.

        Returns:
            The predictions made, from the first on.
        """
        if not self.path.exists():
            return []
        lines = self.path.read_bytes().split(b"\n")
        whole = lines[:-1]  # what follows the last line feed was torn off, or is empty
        if len(whole) < inputs:
            whole = whole[: len(whole) - len(whole) % chunk]
        kept = b"".join(line + b"\n" for line in whole)
        if len(kept) < self.path.stat().st_size:
            os.truncate(self.path, len(kept))
        return [json.loads(line) for line in whole]

    def add(self, predictions: Sequence[Prediction]) -> None:
        """Append predictions; they are on the disk when this returns.

        Args:
            predictions: Those of one chunk.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        with self.path.open("a", encoding="utf-8") as stream:
            for prediction in predictions:
                stream.write(json.dumps(prediction, ensure_ascii=False) + "\n")
            stream.flush()
            os.fsync(stream.fileno())
