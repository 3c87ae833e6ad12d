"""The shapes that are measured on a GPU are those of the public models, and their code runs."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from benchmarks.gpu import PAGE, measure, write_page
from benchmarks.real_sizes import SIZES, TINY, build, make_checkpoint


@pytest.mark.parametrize("name", SIZES)
def test_sizes_have_the_parameters_of_their_models(name: str) -> None:
    import torch

    with torch.device("meta"):
        model = build(SIZES[name])()
    millions = sum(each.numel() for each in model.parameters()) / 1e6
    assert millions == pytest.approx(SIZES[name].parameters, rel=0.01)


@pytest.mark.parametrize("name", TINY)
def test_a_checkpoint_is_made_loaded_and_run(name: str, tmp_path: Path) -> None:
    import torch

    make_checkpoint(TINY[name], tmp_path, torch.bfloat16)
    found = measure(tmp_path, TINY[name], "float32", "cpu", batch=2, new_tokens=2, rounds=1)
    assert found["tokens_a_second"] > 0
    assert found["peak"] == 0  # only CUDA tells


def test_the_table_takes_the_place_of_the_words(tmp_path: Path) -> None:
    page = Path(shutil.copy(PAGE, tmp_path / "gpu.md"))
    write_page(page, "| a table |")
    text = page.read_text("utf-8")
    assert "| a table |" in text
    assert "Not measured" not in text
    assert "## What stands ready" in text
