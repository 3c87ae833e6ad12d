"""What a checkpoint's vocabulary and configuration tell: its languages and its window."""

from __future__ import annotations

from collections.abc import Collection
from typing import TYPE_CHECKING

from langchain_xlm.errors import UnsupportedLanguageError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.families import Family
from langchain_xlm.text.languages import ModelLanguages, find_language

if TYPE_CHECKING:
    from transformers import PreTrainedConfig, PreTrainedTokenizerBase

__all__ = ["fixed_language", "language_tokens", "languages_of", "pieces_of", "window_of"]

# Tokenizers write about 1e30 where no limit is set.
_LONGEST_WINDOW = 1_000_000


def pieces_of(tokenizer: PreTrainedTokenizerBase) -> set[str]:
    """Name every piece of a vocabulary, its tokens of languages among them.

    Args:
        tokenizer: The tokenizer.

    Returns:
        The pieces.
    """
    # M2M100 keeps its language tokens out of `get_vocab`.
    return {*tokenizer.get_vocab(), *getattr(tokenizer, "lang_token_to_id", ())}


def language_tokens(family: Family, vocabulary: Collection[str]) -> tuple[str, ...]:
    """Find the tokens of a vocabulary that are spelled like a language.

    Args:
        family: The row of the family table.
        vocabulary: What `pieces_of` gave.

    Returns:
        The tokens, sorted; none where the family has no such tokens.
    """
    naming = family.naming
    if naming is None:
        return ()
    return tuple(sorted(token for token in vocabulary if naming.code_of(token) is not None))


def languages_of(spec: LoadSpec, family: Family, tokens: tuple[str, ...]) -> ModelLanguages | None:
    """Tell the languages that a vocabulary names.

    Args:
        spec: The checkpoint, named in errors.
        family: The row of the family table.
        tokens: What `language_tokens` gave.

    Returns:
        The languages; None where it names none.
    """
    if family.naming is None or not tokens:
        return None
    return ModelLanguages.from_vocabulary(family.naming, tokens, spec.model)


def fixed_language(tokenizer: PreTrainedTokenizerBase, side: str) -> str | None:
    """Tell the one language of a Marian checkpoint on a side.

    Args:
        tokenizer: Its tokenizer.
        side: `"source_lang"` or `"target_lang"`.

    Returns:
        A BCP 47 tag; None for groups ("ROMANCE", "mul") and for other checkpoints.
    """
    name = getattr(tokenizer, side, None)
    if not isinstance(name, str):
        return None
    try:
        language = find_language(name)
    except UnsupportedLanguageError:
        return None
    return None if language.name.endswith("languages") else language.tag


def window_of(config: PreTrainedConfig, tokenizer: PreTrainedTokenizerBase, family: Family) -> int:
    """Tell how many tokens a model reads at most: what its positions and its tokenizer allow.

    Args:
        config: The model's configuration.
        tokenizer: Its tokenizer.
        family: The row of the family table.

    Returns:
        The shorter of the two, special tokens included.
    """
    reader = getattr(config, "encoder", config)
    limits = []
    positions = getattr(reader, "max_position_embeddings", None)
    if isinstance(positions, int) and positions > 0:
        limits.append(positions - family.position_offset)
    if 0 < tokenizer.model_max_length < _LONGEST_WINDOW:
        limits.append(tokenizer.model_max_length)
    return min(limits, default=family.default_window)
