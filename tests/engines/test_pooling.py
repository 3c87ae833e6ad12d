from __future__ import annotations

from typing import get_args

import pytest
import torch

from langchain_xlm.engines.pooling import pool
from langchain_xlm.engines.recipe import PoolingMode

LENGTHS = torch.tensor([7, 3, 1, 5])


@pytest.fixture
def states() -> torch.Tensor:
    return torch.randn(4, 7, 6, generator=torch.Generator().manual_seed(1))


@pytest.fixture
def mask() -> torch.Tensor:
    return (torch.arange(7) < LENGTHS[:, None]).long()


@pytest.mark.parametrize("mode", get_args(PoolingMode))
def test_padding_has_no_part(mode: PoolingMode, states: torch.Tensor, mask: torch.Tensor) -> None:
    together = pool(states, mask, [mode])
    states[mask == 0] = 1e6
    assert torch.equal(pool(states, mask, [mode]), together)
    for row, length in enumerate(LENGTHS.tolist()):
        alone = pool(states[row : row + 1, :length], mask[row : row + 1, :length], [mode])
        torch.testing.assert_close(alone[0], together[row])


@pytest.mark.parametrize("skip", [0, 2])
@pytest.mark.parametrize("mode", get_args(PoolingMode))
def test_the_result_is_that_of_sentence_transformers(
    mode: PoolingMode, skip: int, states: torch.Tensor
) -> None:
    from sentence_transformers.sentence_transformer.modules import Pooling

    mask = (torch.arange(7) < torch.tensor([7, 3, 4, 5])[:, None]).long()
    theirs = Pooling(6, pooling_mode=mode, include_prompt=False)
    expected = theirs({"token_embeddings": states, "attention_mask": mask, "prompt_length": skip})
    ours = pool(states, mask, [mode], skipped=torch.full((4,), skip))
    torch.testing.assert_close(ours, expected["sentence_embedding"])


def test_several_modes_are_concatenated_in_order(states: torch.Tensor, mask: torch.Tensor) -> None:
    both = pool(states, mask, ["max", "mean"])
    assert both.shape == (4, 12)
    assert torch.equal(both[:, :6], pool(states, mask, ["max"]))
    assert torch.equal(both[:, 6:], pool(states, mask, ["mean"]))


def test_half_precision_states_are_summed_in_single(mask: torch.Tensor) -> None:
    states = torch.full((4, 7, 6), 1 / 3, dtype=torch.bfloat16)
    vectors = pool(states, mask, ["mean"])
    assert vectors.dtype == torch.float32
    torch.testing.assert_close(vectors, states.float()[:, 0])
