"""Property tests here draw the same examples in every run and keep no files."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile(
    "repeatable", derandomize=True, database=None, deadline=None, max_examples=80
)
settings.load_profile("repeatable")
