"""Batches of token ids to token states: without padding where the model can, else padded."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import TYPE_CHECKING

import numpy as np
import torch

from langchain_xlm.engines.lanes import (
    Lanes,
    compute_on_one_core,
    divide,
    give_way,
    lanes_here,
    on_all_cores,
)
from langchain_xlm.engines.packing import pack, use_packed_attention
from langchain_xlm.engines.rows import pad_rows
from langchain_xlm.models.device_maps import is_whole_on_cpu
from langchain_xlm.models.processor import computes_bfloat16
from langchain_xlm.models.quantization import ROWWISE_INT8, quantizer_of

if TYPE_CHECKING:
    from langchain_xlm.models.converted import ConvertedEncoder
    from langchain_xlm.models.loading import LoadedModel

# Budgets of one batch in tokens. On a CPU a small rectangle stays in the caches: 512 measured best
# on two Zen 4 cores, 8192 took twice as long. In bfloat16, half as wide, 1024 took a tenth less
# time than 512 on two Zen 5 cores, and 2048 no less than 1024. A GPU wants to be filled.
_BATCH_TOKENS_CPU = 512
_BATCH_TOKENS_CPU_BFLOAT16 = 1024
_BATCH_TOKENS_GPU = 16_384
# And of one lane. With 256 in bfloat16 or 8 bits two lanes on Zen 4 took 5 to 8% longer, with 1024
# no less; in float32 256 took as long as 512.
_LANE_TOKENS, _LANE_TOKENS_FLOAT32 = 512, 256


def batch_tokens(device: torch.device, dtype: str, *, lanes: int = 1) -> int:
    """Tell how large a batch of texts to read should be.

    Args:
        device: Where it is computed.
        dtype: Name of the type of its products, such as `"bfloat16"` or `"int8"`.
        lanes: How many parts of it run side by side.

    Returns:
        Rows times longest row, in tokens.
    """
    if device.type != "cpu":
        return _BATCH_TOKENS_GPU
    whole = _BATCH_TOKENS_CPU_BFLOAT16 if dtype == "bfloat16" else _BATCH_TOKENS_CPU
    if lanes == 1:
        return whole
    each = _LANE_TOKENS_FLOAT32 if dtype == "float32" else _LANE_TOKENS
    return max(whole, lanes * each)


@dataclass(frozen=True, eq=False)
class TokenStates:
    """The last hidden states of a batch, all tokens in one row.

    Attributes:
        states: `(tokens, width)`, the model's dtype; padding may lie between texts.
        starts: First token of each text, in the order given, `(texts,)`, int64.
        ends: The token behind each text's last, `(texts,)`, int64.
    """

    states: torch.Tensor
    starts: torch.Tensor
    ends: torch.Tensor

    def first(self) -> torch.Tensor:
        """Return the state of each text's first token, `(texts, width)`."""
        return self.states[self.starts.to(self.states.device)]

    @classmethod
    def joined(cls, parts: Sequence[TokenStates], places: Sequence[Sequence[int]]) -> TokenStates:
        """Put batches together.

        Args:
            parts: At least one.
            places: Of each part's texts in the whole.

        Returns:
            The states of all.
        """
        where = torch.tensor([place for each in places for place in each])
        starts, ends = torch.empty_like(where), torch.empty_like(where)
        offsets = accumulate((len(part.states) for part in parts[:-1]), initial=0)
        moved = [
            (part.starts + by, part.ends + by) for part, by in zip(parts, offsets, strict=True)
        ]
        starts[where] = torch.cat([each for each, _ in moved])
        ends[where] = torch.cat([each for _, each in moved])
        return cls(torch.cat([part.states for part in parts]), starts, ends)


class StateReader:
    """Runs the body of a loaded model.

    Attributes:
        packed: Whether batches run without padding.
        lanes: How many parts of a batch run side by side.
    """

    def __init__(self, loaded: LoadedModel) -> None:
        """Choose how to run a model.

        Args:
            loaded: The model. Unless the caller chose an attention, or its family cannot, its
                attention is set to the one that needs no padding.
        """
        self._loaded = loaded
        self._body = loaded.model.base_model
        free = loaded.spec.attn_implementation is None
        self.packed = free and loaded.family.packs and use_packed_attention(loaded.model)
        quantizer = quantizer_of(loaded.model)
        rounded = loaded.model.dtype == torch.bfloat16 or quantizer == ROWWISE_INT8
        self._in_bfloat16 = rounded and loaded.device.type == "cpu" and computes_bfloat16()
        # Layers of bitsandbytes keep what they compute with, and the hooks of accelerate fetch
        # weights: such models run in one thread alone.
        self._on_cpu = is_whole_on_cpu(loaded.model)
        divides = self._on_cpu and self.packed and quantizer in (None, ROWWISE_INT8)
        self.lanes = lanes_here() if divides else 1
        self._lanes = Lanes(self.lanes) if self.lanes > 1 else None

    def read(self, rows: Sequence[Sequence[int]]) -> TokenStates:
        """Compute the token states of a batch.

        Args:
            rows: Token ids of each text, special tokens included; at least one text.

        Returns:
            The states.
        """
        if not self._on_cpu:
            return self._read(rows)
        return _share(rows, self._lanes, self._read, whole=on_all_cores)

    def rest(self) -> None:
        """Let go of threads that would slow other models."""
        if self._on_cpu:
            compute_on_one_core()
        else:
            give_way()

    def close(self) -> None:
        """End the threads of the lanes."""
        if self._lanes is not None:
            self._lanes.close()

    def _read(self, rows: Sequence[Sequence[int]]) -> TokenStates:
        loaded = self._loaded
        if self.packed:
            counted = loaded.config.pad_token_id if loaded.family.position_offset else None
            row = pack(rows, loaded.device, padding_id=counted, in_bfloat16=self._in_bfloat16)
            states = self._body(input_ids=row.ids, position_ids=row.positions, packing=row.packing)[
                0
            ]
            return TokenStates(states[0], row.starts, row.ends)
        ids, mask = pad_rows(rows, loaded.tokenizer.pad_token_id, loaded.device)
        states = self._body(input_ids=ids, attention_mask=mask)[0]
        starts = torch.arange(len(rows)) * ids.shape[1]
        lengths = torch.tensor([len(row) for row in rows])
        return TokenStates(states.flatten(0, 1), starts, starts + lengths)


class ConvertedReader:
    """Runs an encoder on CTranslate2, which leaves padding out of all but attention.

    Attributes:
        packed: False: texts of unlike lengths are padded where they attend.
        lanes: How many parts of a batch run side by side.
    """

    packed = False

    def __init__(self, loaded: ConvertedEncoder) -> None:
        """Take over a model.

        Args:
            loaded: The model.
        """
        self._encoder = loaded.encoder
        self.lanes = loaded.encoder.num_encoders
        self._lanes = Lanes(self.lanes) if self.lanes > 1 else None

    def read(self, rows: Sequence[Sequence[int]]) -> TokenStates:
        """Compute the token states of a batch.

        Args:
            rows: Token ids of each text, special tokens included; at least one text.

        Returns:
            The states, float32.
        """
        return _share(rows, self._lanes, self._read, whole=_here)

    def rest(self) -> None:
        """Let go of threads that would slow other models; CTranslate2 has its own."""
        compute_on_one_core()

    def close(self) -> None:
        """End the threads of the lanes."""
        if self._lanes is not None:
            self._lanes.close()

    def _read(self, rows: Sequence[Sequence[int]]) -> TokenStates:
        output = self._encoder.forward_batch([list(row) for row in rows])
        padded = torch.from_numpy(np.array(output.last_hidden_state))  # a copy of its own
        lengths = torch.tensor([len(row) for row in rows])
        starts = torch.arange(len(rows)) * padded.shape[1]
        return TokenStates(padded.flatten(0, 1), starts, starts + lengths)


def _share(
    rows: Sequence[Sequence[int]],
    lanes: Lanes | None,
    read: Callable[[Sequence[Sequence[int]]], TokenStates],
    *,
    whole: Callable[[Callable[[], TokenStates]], TokenStates],
) -> TokenStates:
    """Read a batch in parts side by side, and what is left over as a whole."""

    def read_part(places: Sequence[int]) -> TokenStates:
        with torch.inference_mode():
            return read([rows[place] for place in places])

    every = list(range(len(rows)))
    parts, left = ([], every) if lanes is None else divide([len(row) for row in rows], lanes.count)
    if lanes is None or not parts:
        return whole(lambda: read_part(every))
    states = lanes.run(read_part, parts)
    if left:
        parts.append(left)
        states.append(whole(lambda: read_part(left)))
    return TokenStates.joined(states, parts)


def _here(work: Callable[[], TokenStates]) -> TokenStates:
    return work()
