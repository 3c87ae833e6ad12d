"""Property tests here draw the same examples in every run and keep no files here."""

from __future__ import annotations

import os
import tempfile
from pathlib import Path

# Read when hypothesis first wants to store something, which it would do in the working folder.
os.environ.setdefault(
    "HYPOTHESIS_STORAGE_DIRECTORY", str(Path(tempfile.gettempdir()) / "hypothesis")
)

from hypothesis import settings

settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=80
)
settings.load_profile("repeatable")
