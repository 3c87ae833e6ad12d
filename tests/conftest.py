"""Fixtures of every test: offline, seeded, tiny real checkpoints.

Sockets are forbidden by pytest-socket (see pyproject.toml); the variables below must be set
before huggingface_hub is imported, hence at the top of this file.
"""

from __future__ import annotations

import os

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_checkpoint


@pytest.fixture(scope="session")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """A function from a kind (and options) of `tests/tiny.py` to its folder, built once.

    The folder is shared by all tests: copy it before changing a file in it.
    """
    root = tmp_path_factory.mktemp("checkpoints")
    built: dict[str, Path] = {}

    def checkpoint(kind: str, **options: Any) -> Path:
        key = repr((kind, sorted(options.items())))
        if key not in built:
            built[key] = tiny_checkpoint(kind, root / f"{kind}-{len(built)}", **options)
        return built[key]

    return checkpoint
