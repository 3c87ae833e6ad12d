"""From the token states of a batch to one vector for each row."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from langchain_xlm.engines.recipe import PoolingMode


def pool(
    states: torch.Tensor,
    mask: torch.Tensor,
    modes: Sequence[PoolingMode],
    *,
    skipped: torch.Tensor | None = None,
) -> torch.Tensor:
    """Pool token states in each of the given ways and concatenate the results.

    Args:
        states: Last hidden states, `(rows, tokens, width)`, any float dtype.
        mask: 1 for a token and 0 for padding behind it, `(rows, tokens)`, integer.
        modes: Ways of pooling, at least one.
        skipped: Tokens at the start of each row that take no part (a prompt), `(rows,)`; every
            row keeps at least one token. None skips none.

    Returns:
        One vector for each row, `(rows, width * len(modes))`, float32.

    Source:
        Reimers and Gurevych 2019, section 3, https://arxiv.org/abs/1908.10084; position-weighted
        mean: Muennighoff 2022, section 4.1, https://arxiv.org/abs/2202.08904
    """
    states = states.float()
    positions = torch.arange(states.shape[1], device=states.device)
    ends = mask.sum(dim=1)
    starts = torch.zeros_like(ends) if skipped is None else skipped.to(ends)
    kept = ((positions >= starts[:, None]) & (positions < ends[:, None])).unsqueeze(-1)
    parts = [_pool_one(states, kept, starts, ends, mode) for mode in modes]
    return torch.cat(parts, dim=-1)


def _pool_one(
    states: torch.Tensor,
    kept: torch.Tensor,
    starts: torch.Tensor,
    ends: torch.Tensor,
    mode: PoolingMode,
) -> torch.Tensor:
    rows = torch.arange(states.shape[0], device=states.device)
    if mode == "cls":
        return states[rows, starts]
    if mode == "lasttoken":
        return states[rows, ends - 1]
    if mode == "max":
        return states.masked_fill(~kept, float("-inf")).amax(dim=1)
    weights = kept.float()
    if mode == "weightedmean":
        positions = torch.arange(1, states.shape[1] + 1, device=states.device)
        weights = weights * positions[None, :, None]
    total = (states * weights).sum(dim=1)
    count = weights.sum(dim=1)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)
