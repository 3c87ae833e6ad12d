"""An encoder rewritten for CTranslate2, and whether the copy computes what the original does."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any

from langchain_xlm.models.conversion import SENTENCES, save_copy
from langchain_xlm.models.loading import LoadedModel

if TYPE_CHECKING:
    import ctranslate2
    import torch

__all__ = ["BOUNDS", "Reference", "difference", "references", "write_copy"]

BOUNDS = {"float32": 0.001, "int8": 0.05}
"""How far the states of tokens may lie from the original's: 1 - cosine, on average over the
tokens. Float32 differs by rounding alone, which stays below 0.00001; 8 bits differ by what they
leave out, under 0.02 on trained weights. A wrong conversion differs by more than 0.1."""

Reference = tuple[list[int], "torch.Tensor"]
"""Tokens of a sentence, and their states, `(tokens, width)`, float32."""


def write_copy(loaded: LoadedModel, folder: Path, *, weights: str) -> None:
    """Write an encoder in CTranslate2's format.

    The layers of the families that convert are RoBERTa's, and named alike; they differ in where
    their positions begin.

    Args:
        loaded: The model in float32, without a pooler.
        folder: Where to write; must not exist.
        weights: "float32" or "int8".

    Raises:
        ModelLoadError: The installed versions cannot convert it.
        OSError: The folder cannot be written.
    """
    from ctranslate2.converters.transformers import XLMRobertaLoader

    first = loaded.family.position_offset

    class Loader(XLMRobertaLoader):  # type: ignore[misc]  # which has no types
        def set_position_encodings(self, spec: Any, module: Any) -> None:
            spec.encodings = module.weight[first:]

    def describe() -> Any:
        config = SimpleNamespace(**loaded.config.to_dict())
        # CTranslate2 4.8 asks for what transformers 5 no longer says: no other kind is left.
        config.position_embedding_type = "absolute"
        copy = Loader().get_model_spec(SimpleNamespace(config=config, roberta=loaded.model))
        # Texts become ids here as they do for the original: numbers stand for pieces.
        copy.register_vocabulary([str(token) for token in range(config.vocab_size)])
        copy.config.unk_token = str(loaded.tokenizer.unk_token_id)
        copy.config.layer_norm_epsilon = config.layer_norm_eps
        return copy

    save_copy(loaded, describe, folder, weights=weights)


def references(loaded: LoadedModel) -> list[Reference]:
    """Have the original read a few sentences, one by one.

    Args:
        loaded: The model in float32, on the CPU.

    Returns:
        One reference for each sentence.
    """
    import torch

    found = []
    for ids in loaded.tokenizer(list(SENTENCES))["input_ids"]:
        row = list(ids)[: loaded.window]
        with torch.inference_mode():
            states = loaded.model(input_ids=torch.tensor([row]))[0][0]
        found.append((row, states.float()))
    return found


def difference(encoder: ctranslate2.Encoder, given: list[Reference]) -> float:
    """Compare a copy with what its original read.

    Args:
        encoder: The copy; it reads the sentences as one batch.
        given: What the original made of them.

    Returns:
        1 - cosine of the states, averaged over all tokens.
    """
    import numpy as np
    import torch

    output = encoder.forward_batch([row for row, _ in given])
    states = torch.from_numpy(np.asarray(output.last_hidden_state).astype(np.float32))
    likeness = [
        torch.cosine_similarity(states[place, : len(row)], exact, dim=1)
        for place, (row, exact) in enumerate(given)
    ]
    return 1 - float(torch.cat(likeness).double().mean())
