"""Tokens to tokens with transformers on torch."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from langchain_xlm.engines.decoding import Plan, generation_config
from langchain_xlm.models.footprint import model_bytes
from langchain_xlm.models.loading import LoadedModel

if TYPE_CHECKING:
    from transformers import GenerationConfig


class TorchWriter:
    """A model of transformers that generates; used on the worker's thread alone."""

    def __init__(self, loaded: LoadedModel, defaults: GenerationConfig) -> None:
        """Take over a model.

        Args:
            loaded: The model; its own generation settings are put out of force.
            defaults: The checkpoint's generation settings, complete.
        """
        from transformers import GenerationConfig

        # `generate` fills what a given configuration leaves at None from the model's own. With
        # an empty one there, None means none.
        loaded.model.generation_config = GenerationConfig()
        self.memory_bytes = model_bytes(loaded.model)
        self._loaded = loaded
        self._defaults = defaults

    def write(self, rows: Sequence[Sequence[int]], plan: Plan) -> list[list[int]]:
        """Generate once for each row of a batch.

        Args:
            rows: Source tokens of each row, at least one row.
            plan: What they share.

        Returns:
            The written tokens of each row, beginning with the forced one where one is forced;
            behind its end a row may be filled up with padding.
        """
        import torch

        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.full((len(rows), int(lengths.max())), self._loaded.tokenizer.pad_token_id)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        model: Any = self._loaded.model  # whose stubs do not know that it generates
        with torch.inference_mode():
            sequences = model.generate(
                input_ids=ids.to(self._loaded.device),
                attention_mask=mask.to(self._loaded.device),
                generation_config=generation_config(self._defaults, plan),
            )
        # The first column is the decoder's start token, in every family.
        written: list[list[int]] = sequences[:, 1:].tolist()
        return written
