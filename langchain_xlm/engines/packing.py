"""Texts of a batch in one row, without padding: each attends to itself alone.

Everything in an encoder but attention works on single tokens, so a batch needs no rectangle. The
stock model of transformers runs on one row that holds all texts one behind the other; the
attention function here, registered with transformers' own attention interface, keeps them apart.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import groupby
from typing import TYPE_CHECKING, Any

import torch

if TYPE_CHECKING:
    from transformers import PreTrainedModel

ATTENTION = "langchain_xlm_packed"
"""Name of the attention function in transformers' attention interface."""

# Up to this length scores are kept as a matrix where that is quicker; beyond, it costs memory.
_LONGEST_MATRIX = 1024
# Chips on which flash attention of variable lengths runs in 16 bits, by compute capability.
_FLASH_CAPABILITY = (8, 0)


@dataclass(frozen=True, eq=False)
class Packing:
    """Where the texts of one row lie: a run of equal lengths behind the other.

    Attributes:
        runs: First token, number of texts and length of each, in tokens, of every run.
        in_bfloat16: Whether a CPU may attend in bfloat16, whatever the states are in.
    """

    runs: tuple[tuple[int, int, int], ...]
    in_bfloat16: bool = False
    _bounds: dict[torch.device, torch.Tensor] = field(default_factory=dict, repr=False)

    @property
    def longest(self) -> int:
        """Length of the longest text, in tokens."""
        return max(length for _, _, length in self.runs)

    def bounds(self, device: torch.device) -> torch.Tensor:
        """Return the first token of each text and the end of the last, `(texts + 1,)`, int32."""
        if device not in self._bounds:
            ends = [0]
            for start, count, length in self.runs:
                ends += [start + (place + 1) * length for place in range(count)]
            self._bounds[device] = torch.tensor(ends, dtype=torch.int32, device=device)
        return self._bounds[device]


@dataclass(frozen=True, eq=False)
class PackedRow:
    """The texts of a batch as one row of tokens.

    Attributes:
        ids: Token ids, `(1, tokens)`, int64.
        positions: Position of each token as the model counts them, `(1, tokens)`, int64.
        packing: Where the texts lie in the row.
        starts: First token of each text, in the order given, `(texts,)`, int64.
        ends: The token behind each text's last, `(texts,)`, int64.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    packing: Packing
    starts: torch.Tensor
    ends: torch.Tensor


def pack(
    rows: Sequence[Sequence[int]],
    device: torch.device,
    *,
    padding_id: int | None,
    in_bfloat16: bool = False,
) -> PackedRow:
    """Lay texts one behind the other, those of equal length side by side.

    Args:
        rows: Token ids of each text, at least one text and no empty one.
        device: Where the tensors go.
        padding_id: For models that count positions from the padding id on and leave it out, as
            RoBERTa does; None for those that count from 0.
        in_bfloat16: Whether a CPU may attend in bfloat16.

    Returns:
        The row.
    """
    order = sorted(range(len(rows)), key=lambda place: len(rows[place]))
    starts, ends = [0] * len(rows), [0] * len(rows)
    flat: list[int] = []
    runs = []
    for length, places in groupby(order, key=lambda place: len(rows[place])):
        first, count = len(flat), 0
        for place in places:
            starts[place] = len(flat)
            flat.extend(rows[place])
            ends[place] = len(flat)
            count += 1
        runs.append((first, count, length))
    ids = torch.tensor(flat)
    positions = torch.cat([torch.arange(length).repeat(count) for _, count, length in runs])
    if padding_id is not None:
        positions += padding_id + 1
        if padding_id in flat:
            positions = _positions_around_padding(ids, runs, padding_id)
    return PackedRow(
        ids=ids[None].to(device),
        positions=positions[None].to(device),
        packing=Packing(tuple(runs), in_bfloat16),
        starts=torch.tensor(starts),
        ends=torch.tensor(ends),
    )


def use_packed_attention(model: PreTrainedModel) -> bool:
    """Have a model attend text by text, where it can and where it gains.

    Args:
        model: A loaded model whose attention goes through transformers' interface.

    Returns:
        Whether it does now; if not, nothing has changed.
    """
    if model.config._attn_implementation != "sdpa" or not model._can_set_attn_implementation():
        return False
    devices = {parameter.device for parameter in model.parameters()} - {torch.device("meta")}
    if not all(_gains(device, model.dtype) for device in devices):
        return False
    from transformers import AttentionInterface

    AttentionInterface.register(ATTENTION, packed_attention)
    model.set_attn_implementation(ATTENTION)
    return bool(model.config._attn_implementation == ATTENTION)


def packed_attention(
    module: torch.nn.Module,
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    attention_mask: torch.Tensor | None,
    *,
    packing: Packing,
    scaling: float | None = None,
    **_others: Any,
) -> tuple[torch.Tensor, None]:
    """Attend within each text of a row.

    Args:
        module: The attention layer.
        query: `(1, heads, tokens, head width)`.
        key: As the query.
        value: As the query.
        attention_mask: None: transformers makes no mask for an attention that it does not know.
        packing: Where the texts lie.
        scaling: Factor of the scores; None takes 1 / sqrt(head width).
        _others: What transformers hands to every attention function.

    Returns:
        `(1, tokens, heads, head width)`, and None in place of the weights.
    """
    if query.device.type == "cuda":
        return _flash_attention(query, key, value, packing, scaling), None
    _, heads, tokens, width = query.shape
    dtype = query.dtype
    factor = width**-0.5 if scaling is None else scaling
    if packing.in_bfloat16:  # for all texts at once: small operations cost more than what they do
        query, key, value = ((query * factor).bfloat16(), key.bfloat16(), value.bfloat16())
        factor = 1.0
    parts = []
    for start, count, length in packing.runs:
        run = slice(start, start + count * length)
        # (heads, texts * length, width) becomes (texts, heads, length, width) without a copy.
        q, k, v = (
            states[0, :, run].view(heads, count, length, width).transpose(0, 1)
            for states in (query, key, value)
        )
        if packing.in_bfloat16 and length <= _LONGEST_MATRIX:
            part = _matrix_attention(q, k, v)
        else:
            part = torch.nn.functional.scaled_dot_product_attention(q, k, v, scale=factor)
        parts.append(part.transpose(1, 2).reshape(count * length, heads, width))
    joined = parts[0] if len(parts) == 1 else torch.cat(parts)
    return joined.to(dtype).view(1, tokens, heads, width), None


def _matrix_attention(query: torch.Tensor, key: torch.Tensor, value: torch.Tensor) -> torch.Tensor:
    """Attend by whole matrices of bfloat16, on the processor's own units.

    Torch's fused attention computes in float32 on a CPU whatever it is given: at half the speed
    for 16 to 512 tokens on a Zen 5 core, torch 2.13. Scores are summed and normalized in float32.

    Args:
        query: `(texts, heads, tokens, head width)`, bfloat16, times the factor of the scores.
        key: As the query, without the factor.
        value: As the key.

    Returns:
        The same shape and dtype.
    """
    texts, heads, tokens, width = query.shape
    q, k, v = (states.reshape(texts * heads, tokens, width) for states in (query, key, value))
    attended = torch.bmm(torch.bmm(q, k.mT).softmax(dim=-1), v)
    return attended.view(query.shape)


def _flash_attention(
    query: torch.Tensor,
    key: torch.Tensor,
    value: torch.Tensor,
    packing: Packing,
    scaling: float | None,
) -> torch.Tensor:
    """Attend with torch's flash attention of variable lengths: one kernel for all texts."""
    from torch.nn.attention.varlen import varlen_attn

    bounds = packing.bounds(query.device)
    q, k, v = (states[0].transpose(0, 1) for states in (query, key, value))
    longest = packing.longest
    attended = varlen_attn(q, k, v, bounds, bounds, longest, longest, scale=scaling)
    assert isinstance(attended, torch.Tensor)
    return attended[None]


def _gains(device: torch.device, dtype: torch.dtype) -> bool:
    """Whether attention of variable lengths is there and as quick as that of a rectangle."""
    if device.type == "cpu":
        return True
    if device.type != "cuda" or dtype not in (torch.float16, torch.bfloat16):
        return False
    try:
        from torch.nn.attention.varlen import varlen_attn  # noqa: F401 - torch before 2.10
    except ImportError:
        return False
    is_nvidia = torch.version.cuda is not None
    return is_nvidia and torch.cuda.get_device_capability(device) >= _FLASH_CAPABILITY


def _positions_around_padding(
    ids: torch.Tensor, runs: Sequence[tuple[int, int, int]], padding_id: int
) -> torch.Tensor:
    """Count as RoBERTa does where a text spells out the padding token: it is no position."""
    parts = []
    for start, count, length in runs:
        counted = ids[start : start + count * length].view(count, length) != padding_id
        parts.append((counted.cumsum(dim=1) * counted + padding_id).flatten())
    return torch.cat(parts)
