"""Tests on public checkpoints: they need a network, and say so where there is none."""

from __future__ import annotations

import os
import socket

import pytest

from langchain_xlm import unload_models

HUB = "huggingface.co"


def _hub_answers() -> bool:
    if os.environ.get("HF_HUB_OFFLINE", "0") not in ("", "0"):
        return False
    try:
        socket.create_connection((HUB, 443), timeout=5).close()
    except OSError:
        return False
    return True


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    if not _hub_answers():
        reason = f"{HUB} cannot be reached from here, or HF_HUB_OFFLINE is set"
        for item in items:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(autouse=True)
def unloaded() -> object:
    """Models of one test do not stay in memory for the next."""
    yield
    unload_models()


def converted(model: str) -> str:
    """The revision under which the hub's converter keeps a checkpoint as safetensors."""
    from huggingface_hub import get_repo_discussions

    for discussion in get_repo_discussions(model, discussion_type="pull_request"):
        if discussion.author == "SFconvertbot":
            return f"refs/pr/{discussion.num}"
    pytest.skip(f"nobody has converted {model} to safetensors")
