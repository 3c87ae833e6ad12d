"""Checkpoints of random weights in the true architectures and sizes of public models."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import torch

__all__ = ["SIZES", "TINY", "Size", "make_checkpoint"]


@dataclass(frozen=True)
class Size:
    """A public model's architecture.

    Attributes:
        task: What it is for.
        layers: Layers, of each side where there are two.
        width: Width of the token states.
        heads: Attention heads.
        inner: Width inside the feed-forward layers.
        vocabulary: Rows of the vocabulary matrix.
        parameters: Numbers that were learned, in millions, as its card tells; 0 for none.
        is_extra_large: Whether XLM-R's second architecture is meant (norms before layers).
    """

    task: str
    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int
    parameters: int = 0
    is_extra_large: bool = False


SIZES: dict[str, Size] = {
    "xlm-roberta-base": Size("encoder", 12, 768, 12, 3072, 250_002, 278),
    "xlm-roberta-large": Size("encoder", 24, 1024, 16, 4096, 250_002, 560),
    "xlm-roberta-xl": Size("encoder", 36, 2560, 32, 10_240, 250_880, 3_480, is_extra_large=True),
    "nllb-200-distilled-600M": Size("seq2seq", 12, 1024, 16, 4096, 256_206, 615),
    "nllb-200-1.3B": Size("seq2seq", 24, 1024, 16, 8192, 256_206, 1_370),
    "nllb-200-3.3B": Size("seq2seq", 24, 2048, 16, 8192, 256_206, 3_340),
}
"""By the name of the public model; the figures are those of its config.json."""

TINY: dict[str, Size] = {
    "tiny-encoder": Size("encoder", 2, 64, 4, 128, 2_000),
    "tiny-xl": Size("encoder", 2, 64, 4, 128, 2_000, is_extra_large=True),
    "tiny-nllb": Size("seq2seq", 2, 64, 4, 128, 2_000),
}
"""For trying the code without a GPU."""


def make_checkpoint(size: Size, folder: Path, dtype: torch.dtype) -> None:
    """Write a checkpoint with a small tokenizer, whose pieces are within the vocabulary.

    Args:
        size: The architecture.
        folder: Where it goes.
        dtype: Of its weights.
    """
    import torch

    from tests import tiny_tokenizers as tokenizers

    folder.mkdir(parents=True, exist_ok=True)
    if size.task == "seq2seq":
        tokenizers.nllb_tokenizer(folder)
    else:
        tokenizers.xlm_roberta_tokenizer(folder, window=512)
    before = torch.get_default_dtype()
    torch.set_default_dtype(dtype)
    try:
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(0)
            build(size)().save_pretrained(folder)
    finally:
        torch.set_default_dtype(before)


def build(size: Size) -> Callable[[], Any]:
    """Choose the class and the config of an architecture.

    Args:
        size: The architecture.

    Returns:
        What makes the model, on torch's default device in its default dtype.
    """
    import transformers

    if size.task == "seq2seq":
        config = transformers.M2M100Config(
            vocab_size=size.vocabulary, d_model=size.width, encoder_layers=size.layers,
            decoder_layers=size.layers, encoder_attention_heads=size.heads,
            decoder_attention_heads=size.heads, encoder_ffn_dim=size.inner,
            decoder_ffn_dim=size.inner, max_position_embeddings=1024, pad_token_id=1,
            bos_token_id=0, eos_token_id=2, decoder_start_token_id=2, scale_embedding=True,
        )  # fmt: skip
        return lambda: transformers.M2M100ForConditionalGeneration(config)
    options: dict[str, Any] = {
        "vocab_size": size.vocabulary, "hidden_size": size.width, "num_hidden_layers": size.layers,
        "num_attention_heads": size.heads, "intermediate_size": size.inner,
        "max_position_embeddings": 514, "type_vocab_size": 1, "pad_token_id": 1,
    }  # fmt: skip
    if size.is_extra_large:
        large = transformers.XLMRobertaXLConfig(**options)
        return lambda: transformers.XLMRobertaXLModel(large, add_pooling_layer=False)
    plain = transformers.XLMRobertaConfig(**options)
    return lambda: transformers.XLMRobertaModel(plain, add_pooling_layer=False)
