"""From the token states of a batch to one vector for each text."""

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
    """Pool the token states of a padded batch.

    Args:
        states: Last hidden states, `(rows, tokens, width)`, any float dtype.
        mask: 1 for a token and 0 for padding behind it, `(rows, tokens)`, integer.
        modes: Ways of pooling, at least one.
        skipped: Tokens at the start of each row that take no part (a prompt), `(rows,)`; every
            row keeps at least one token. None skips none.

    Returns:
        One vector for each row, `(rows, width * len(modes))`, float32.
    """
    rows, tokens, width = states.shape
    starts = torch.arange(rows, device=mask.device) * tokens
    flat = states.reshape(rows * tokens, width)
    return pool_texts(flat, starts, starts + mask.sum(dim=1), modes, skipped=skipped)


def pool_texts(
    states: torch.Tensor,
    starts: torch.Tensor,
    ends: torch.Tensor,
    modes: Sequence[PoolingMode],
    *,
    skipped: torch.Tensor | None = None,
) -> torch.Tensor:
    """Pool the token states of texts that lie in one row, in each of the given ways.

    Args:
        states: Last hidden states, `(tokens, width)`, any float dtype; tokens that belong to no
            text take no part.
        starts: First token of each text, `(texts,)`, int64.
        ends: The token behind each text's last, `(texts,)`, int64.
        modes: Ways of pooling, at least one; the results are concatenated.
        skipped: Tokens at the start of each text that take no part (a prompt), `(texts,)`; every
            text keeps at least one token. None skips none.

    Returns:
        One vector for each text, `(texts, width * len(modes))`, float32.

    Source:
        Reimers and Gurevych 2019, section 3, https://arxiv.org/abs/1908.10084; position-weighted
        mean: Muennighoff 2022, section 4.1, https://arxiv.org/abs/2202.08904
    """
    states = states.float()
    starts, ends = starts.to(states.device), ends.to(states.device)
    kept = starts if skipped is None else starts + skipped.to(states.device)
    parts = [_pool_one(states, starts, kept, ends, mode) for mode in modes]
    return torch.cat(parts, dim=-1)


def _pool_one(
    states: torch.Tensor,
    starts: torch.Tensor,
    kept: torch.Tensor,
    ends: torch.Tensor,
    mode: PoolingMode,
) -> torch.Tensor:
    if mode == "cls":
        return states[kept]
    if mode == "lasttoken":
        return states[ends - 1]
    if mode == "max":
        bounds = zip(kept.tolist(), ends.tolist(), strict=True)
        return torch.stack([states[first:end].amax(dim=0) for first, end in bounds])
    tokens = torch.arange(states.shape[0], device=states.device)
    inside = (tokens >= kept[:, None]) & (tokens < ends[:, None])
    weights = inside.float()
    if mode == "weightedmean":
        weights *= tokens - starts[:, None] + 1  # a prompt that takes no part is counted
    total = weights @ states
    count = weights.sum(dim=1, keepdim=True)
    return total / (count.sqrt() if mode == "mean_sqrt_len_tokens" else count)
