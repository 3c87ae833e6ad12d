"""Tests on a CUDA device: they need no network, and say so where there is no device."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import checkpoints

__all__ = ["checkpoints"]


@pytest.hookimpl(trylast=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    import torch

    here = Path(__file__).parent
    for item in items:
        if here not in item.path.parents:
            continue
        # The folder above skips what needs a network, which these do not.
        item.own_markers = [mark for mark in item.own_markers if mark.name != "skip"]
        item.add_marker(pytest.mark.gpu)
        if not torch.cuda.is_available():
            item.add_marker(pytest.mark.skip(reason="there is no CUDA device here"))
