"""A checkpoint of M2M100-418M's shape with random weights and a vocabulary of its size.

What it writes means nothing, but writing it costs what a translation costs. It never stops by
itself, so every system is told how many tokens to write.
"""

from __future__ import annotations

import itertools
import json
import random
from collections.abc import Iterator, Sequence
from pathlib import Path

SHAPES = {
    # The published M2M100-418M: https://arxiv.org/abs/2010.11125, section 4.
    "m2m100-418m": {"layers": 12, "width": 1024, "inner": 4096, "heads": 16, "pieces": 128_000},
    # To see in a minute whether the suite runs.
    "small": {"layers": 2, "width": 128, "inner": 256, "heads": 4, "pieces": 8_000},
}

_WHO = ("My sister", "The old man", "Nobody", "Our teacher", "The woman next door", "A friend")
_DOES = ("bought", "forgot", "found", "wanted", "sold", "hid", "painted")
_WHAT = ("the red bicycle", "two tickets to the sea", "a letter from Paris", "the green door")
_WHEN = ("yesterday", "on a rainy Sunday in May", "before breakfast", "last year", "in the night")
_WHY = (
    "because the winter had been long",
    "although everybody had said that it could not be done",
    "and told the children about it when they came home from school",
    "so that there would be enough money for the journey to the mountains",
    "while the neighbours were playing cards in the kitchen",
)


def sentences(count: int) -> list[str]:
    """Make English sentences of mixed length, from five to about sixty words.

    Args:
        count: How many.

    Returns:
        The same sentences on every call; short ones are the most frequent.
    """
    draw = random.Random(5)
    made = []
    for _ in range(count):
        clauses = draw.choices((0, 1, 2, 3, 5), weights=(9, 6, 3, 2, 1))[0]
        core = " ".join(draw.choice(part) for part in (_WHO, _DOES, _WHAT, _WHEN))
        more = (draw.choice(_WHY) for _ in range(clauses))
        made.append(" ".join((core, *more)) + ".")
    return made


def build(folder: Path, shape: str) -> Path:
    """Write the checkpoint, unless it is there.

    Args:
        folder: Where checkpoints are kept.
        shape: One of `SHAPES`.

    Returns:
        The checkpoint's folder.
    """
    target = folder / shape
    if (target / "model.safetensors").is_file():
        return target
    import torch
    from transformers import M2M100Config, M2M100ForConditionalGeneration

    sizes = SHAPES[shape]
    rows = _tokenizer(target, sizes["pieces"])
    config = M2M100Config(
        vocab_size=rows,
        d_model=sizes["width"],
        encoder_layers=sizes["layers"],
        decoder_layers=sizes["layers"],
        encoder_attention_heads=sizes["heads"],
        decoder_attention_heads=sizes["heads"],
        encoder_ffn_dim=sizes["inner"],
        decoder_ffn_dim=sizes["inner"],
        max_position_embeddings=1024,
        scale_embedding=True,
    )
    torch.manual_seed(0)
    model = M2M100ForConditionalGeneration(config)
    # With embeddings of the usual size, random layers only repeat the token that they read.
    model.get_input_embeddings().weight.data *= 0.05
    model.save_pretrained(target)
    return target


def _tokenizer(folder: Path, pieces: int) -> int:
    """Save an M2M100 tokenizer with this many pieces; return the rows the model needs."""
    from transformers import M2M100Tokenizer
    from transformers.models.m2m_100.tokenization_m2m_100 import FAIRSEQ_LANGUAGE_CODES

    folder.mkdir(parents=True, exist_ok=True)
    names = list(itertools.islice(_pieces(), pieces))
    (folder / "sentencepiece.bpe.model").write_bytes(_sentencepiece(names))
    vocabulary = ["<s>", "<pad>", "</s>", "<unk>", *names]
    (folder / "vocab.json").write_text(
        json.dumps({piece: index for index, piece in enumerate(vocabulary)}), encoding="utf-8"
    )
    tokenizer = M2M100Tokenizer(
        str(folder / "vocab.json"),
        str(folder / "sentencepiece.bpe.model"),
        model_max_length=1024,
        additional_special_tokens=[f"__{code}__" for code in FAIRSEQ_LANGUAGE_CODES["m2m100"]],
    )
    tokenizer.save_pretrained(folder)
    return int(max(tokenizer.lang_token_to_id.values()) + 1 + tokenizer.num_madeup_words)


def _pieces() -> Iterator[str]:
    """Every character, the stems of the words above, and syllables without end, each once."""
    words = {word for part in (_WHO, _DOES, _WHAT, _WHEN, _WHY) for text in part for word in
             text.split()}  # fmt: skip
    stems = sorted({word[:4] for word in words} | {word[4:] for word in words if word[4:]})
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789.,!?'-"
    consonants, vowels = "bdfgklmnprstvz", "aeiou"
    syllables = [first + second for first in consonants for second in vowels]
    made = (
        "".join(parts) for size in (2, 3) for parts in itertools.product(syllables, repeat=size)
    )
    seen: set[str] = set()
    starting = (f"▁{stem}" for stem in stems)
    for piece in itertools.chain(
        ["▁", *letters], starting, stems, (p for word in made for p in (f"▁{word}", word))
    ):
        if piece not in seen:
            seen.add(piece)
            yield piece


def _sentencepiece(pieces: Sequence[str]) -> bytes:
    """A unigram model in which the earlier of two ways to cut a word wins."""
    from sentencepiece import sentencepiece_model_pb2 as proto

    model = proto.ModelProto()
    for name, kind in (("<unk>", 2), ("<s>", 3), ("</s>", 3)):
        model.pieces.add(piece=name, score=0.0, type=kind)
    for index, piece in enumerate(pieces):
        # A single character costs more than any longer piece that holds it.
        score = -20.0 if len(piece) == 1 else -5.0 - index / len(pieces)
        model.pieces.add(piece=piece, score=score, type=1)
    model.trainer_spec.model_type = 1
    model.trainer_spec.vocab_size = len(model.pieces)
    model.normalizer_spec.name = "identity"
    model.normalizer_spec.add_dummy_prefix = True
    return bytes(model.SerializeToString())
