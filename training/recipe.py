"""The recipe file as frozen, checked values."""

from __future__ import annotations

import tomllib
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Any

DEFAULT_PATH = Path(__file__).with_name("recipe.toml")


@dataclass(frozen=True, kw_only=True)
class CorpusRecipe:
    """Which sentences are read, and which are kept aside."""

    seed: int
    dev_sentences: int
    dev_sentences_small: int
    small_language: int
    joined_texts: int
    max_characters: int
    max_pairs_per_file: int
    max_english_only: int
    held_out_fraction: float


@dataclass(frozen=True, kw_only=True)
class VocabularyRecipe:
    """The shared SentencePiece unigram vocabulary."""

    seed: int
    pieces: int
    character_coverage: float
    sampled_lines: int
    sampling_exponent: float
    max_characters: int


@dataclass(frozen=True, kw_only=True)
class TeacherRecipe:
    """How the teacher reads the English sentences."""

    batch_tokens: int
    max_tokens: int


@dataclass(frozen=True, kw_only=True)
class EncoderRecipe:
    """Distillation of the sentence encoder, together with the sentiment head."""

    seed: int
    layers: int
    positions: int
    max_tokens: int
    alignment_iterations: int
    alignment_pairs: int
    batch_tokens: int
    vocabulary_rate: float
    trunk_rate: float
    head_rate: float
    weight_decay: float
    warmup_steps: int
    minutes: float
    temperature: float
    bank_random: int
    bank_neighbours: int
    neighbour_pool: int
    duplicate_cosine: float
    cosine_weight: float
    student_weight: float
    memory: int
    share_of_last: float
    english_share: float
    long_share: float
    long_characters: int
    both_sides_share: float
    sampling_exponent: float
    lower_share: float
    unpunctuated_share: float
    sentiment_every: int
    sentiment_weight: float
    checkpoint_minutes: float
    language_weight: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class HeadRecipe:
    """The sentiment head, fitted once more on the finished encoder."""

    seed: int
    max_tokens: int
    texts_three_classes: int
    texts_two_classes: int
    two_classes_weight: float
    batch_size: int
    rate: float
    rounds: int
    dropout: float


@dataclass(frozen=True, kw_only=True)
class TranslationRecipe:
    """The encoder-decoder, warm-started from the encoder."""

    seed: int
    encoder_layers: int
    decoder_layers: int
    positions: int
    max_tokens: int
    batch_tokens: int
    rate: float
    encoder_rate: float
    vocabulary_rate: float
    warmup_steps: int
    minutes: float
    label_smoothing: float
    weight_decay: float
    sampling_exponent: float
    into_english_share: float
    from_english_share: float
    joined_share: float
    lower_share: float
    renamed_share: float
    averaged_checkpoints: int
    average_minutes: float
    checkpoint_minutes: float
    beams: int
    length_penalty: float
    end_bias: float
    reverse_weight: float
    language_weight: dict[str, float]


@dataclass(frozen=True, kw_only=True)
class EvaluateRecipe:
    """How the finished checkpoints are measured."""

    threads: int
    sentences: int
    rows: int


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """All stages of the recipe."""

    corpus: CorpusRecipe
    vocabulary: VocabularyRecipe
    teacher: TeacherRecipe
    encoder: EncoderRecipe
    head: HeadRecipe
    translation: TranslationRecipe
    evaluate: EvaluateRecipe


SECTIONS: dict[str, type[Any]] = {
    "corpus": CorpusRecipe,
    "vocabulary": VocabularyRecipe,
    "teacher": TeacherRecipe,
    "encoder": EncoderRecipe,
    "head": HeadRecipe,
    "translation": TranslationRecipe,
    "evaluate": EvaluateRecipe,
}


def read_recipe(path: Path = DEFAULT_PATH, *, smoke: bool = False) -> Recipe:
    """Read the recipe, with the `[smoke.*]` overrides where asked.

    Args:
        path: The TOML file.
        smoke: Whether the overrides for a run on a few hundred examples apply.

    Returns:
        The recipe.

    Raises:
        ValueError: A section lacks a value or has one that nothing reads.
    """
    raw = tomllib.loads(path.read_text(encoding="utf-8"))
    overrides = raw.pop("smoke", {}) if smoke else {}
    raw.pop("smoke", None)
    sections: dict[str, Any] = {}
    for name, kind in SECTIONS.items():
        values = raw.get(name, {}) | overrides.get(name, {})
        expected = {field.name for field in fields(kind)}
        if values.keys() != expected:
            odd = ", ".join(sorted(values.keys() ^ expected))
            raise ValueError(f"{path}: section [{name}] has missing or unknown values: {odd}")
        sections[name] = kind(**values)
    return Recipe(**sections)
