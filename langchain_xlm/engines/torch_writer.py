"""Tokens to tokens with transformers on torch."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from langchain_xlm.engines.decoding import Plan, Written, generation_config
from langchain_xlm.models.footprint import model_bytes
from langchain_xlm.models.loading import LoadedModel

if TYPE_CHECKING:
    import torch
    from transformers import GenerationConfig

# Numbers that the scores of all words may take at once, 8 MB of float32: a small part of what the
# search before them took. A row is never cut: 40 tokens of NLLB, with 256,000 words, take 41 MB.
_SCORES = 2_000_000


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

    def write(
        self, rows: Sequence[Sequence[int]], plan: Plan, *, wordings: int = 1
    ) -> list[list[Written]]:
        """Generate for each row of a batch.

        Args:
            rows: Source tokens of each row, at least one row.
            plan: What they share.
            wordings: Outputs for each row, at most the number of beams.

        Returns:
            So many outputs for each row, the most likely first.
        """
        import torch

        from langchain_xlm.engines.lanes import take_over

        if self._loaded.device.type == "cpu":
            take_over()
        ids, mask = self._pad(rows)
        model: Any = self._loaded.model  # whose stubs do not know that it generates
        with torch.inference_mode():
            found = model.generate(
                input_ids=ids,
                attention_mask=mask,
                generation_config=generation_config(self._defaults, plan, wordings=wordings),
            )
        sequences, scores = found, [0.0] * len(rows)
        if wordings > 1:
            sequences, scores = found.sequences, found.sequences_scores.tolist()
        # The first column is the decoder's start token, in every family.
        written = [
            Written(ids, score)
            for ids, score in zip(sequences[:, 1:].tolist(), scores, strict=True)
        ]
        return [written[at : at + wordings] for at in range(0, len(written), wordings)]

    def score(self, rows: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> list[float]:
        """Tell how likely the model would have written something for each row.

        Args:
            rows: Source tokens of each row, at least one row.
            written: The tokens in question, the first of them given to the model and not judged.

        Returns:
            Mean log-probability of a token for each row.
        """
        import torch
        from torch.nn import functional

        scores: list[float] = []
        start = self._defaults.decoder_start_token_id
        width = self._loaded.config.get_text_config(decoder=True).vocab_size
        for part in _parts(rows, written, max(1, _SCORES // width)):
            ids, mask = self._pad([rows[place] for place in part])
            labels, wanted = self._pad([written[place] for place in part])
            with torch.inference_mode():
                logits = self._loaded.model(
                    input_ids=ids,
                    attention_mask=mask,
                    decoder_input_ids=functional.pad(labels[:, :-1], (1, 0), value=start),
                    decoder_attention_mask=wanted,
                    use_cache=False,
                ).logits[:, 1:]
                losses = functional.cross_entropy(
                    logits.flatten(0, 1).float(), labels[:, 1:].flatten(), reduction="none"
                ).view(len(part), -1)
            judged = wanted[:, 1:]
            scores += (-(losses * judged).sum(1) / judged.sum(1)).tolist()
        return scores

    def _pad(self, rows: Sequence[Sequence[int]]) -> tuple[torch.Tensor, torch.Tensor]:
        """Lay rows in one array, filled up on the right, and give the mask that tells them."""
        import torch

        lengths = torch.tensor([len(row) for row in rows])
        ids = torch.full((len(rows), int(lengths.max())), self._loaded.tokenizer.pad_token_id)
        for place, row in enumerate(rows):
            ids[place, : len(row)] = torch.tensor(row)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        return ids.to(self._loaded.device), mask.to(self._loaded.device)


def _parts(
    rows: Sequence[Sequence[int]], written: Sequence[Sequence[int]], tokens: int
) -> Iterator[Sequence[int]]:
    """Cut rows into runs of so many tokens, padding included, or of one row."""
    first = longest = 0
    for place, (row, own) in enumerate(zip(rows, written, strict=True)):
        longest = max(longest, len(row), len(own))
        if place > first and longest * (place + 1 - first) > tokens:
            yield range(first, place)
            first, longest = place, max(len(row), len(own))
    yield range(first, len(rows))
