"""Fixtures of every test: offline, seeded, tiny real checkpoints.

Sockets are forbidden by pytest-socket (see pyproject.toml); the variables below must be set
before huggingface_hub is imported, hence at the top of this file.
"""

from __future__ import annotations

import os
import shutil
import tempfile

os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["HF_HUB_DISABLE_TELEMETRY"] = "1"
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
# Where converted models of this run go; its end removes them.
os.environ["HF_ASSETS_CACHE"] = tempfile.mkdtemp(prefix="langchain-xlm-assets-")

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.tiny import tiny_checkpoint


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the slow tests, so that no process is left alone with one at the end."""
    items.sort(key=lambda item: item.get_closest_marker("slow") is None)


@pytest.fixture(scope="session", autouse=True)
def _without_traces() -> Iterator[None]:
    yield
    shutil.rmtree(os.environ["HF_ASSETS_CACHE"], ignore_errors=True)


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
