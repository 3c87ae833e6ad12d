"""The space between two sentences, which some scripts write and some do not."""

from __future__ import annotations

from functools import lru_cache
from typing import Final

import regex

__all__ = ["fitting_gap"]

# Chinese and Japanese alone put nothing between sentences; Thai, Lao, Khmer, Burmese and
# Tibetan write no spaces between words, but do between sentences.
_UNSPACED_SCRIPTS: Final = frozenset({"Hans", "Hant", "Hani", "Jpan", "Hrkt", "Bopo"})
_UNSPACED: Final = regex.compile(
    r"[\p{Han}\p{Hiragana}\p{Katakana}\p{Bopomofo}\u3001-\u303f\uff00-\uffef]"
)
_SENTENCE_END: Final = regex.compile(r"\p{Sentence_Terminal}[\p{Pe}\p{Pf}\"']*$")
_LETTER: Final = regex.compile(r"[\p{L}\p{N}]")
_OPENING: Final = regex.compile(r"[\p{Ps}\p{Pi}¿¡]")
_CLOSING: Final = regex.compile(r"[\p{Pe}\p{Pf},.;:!?…]")


def fitting_gap(gap: str, *, before: str, left: str, right: str, target: str) -> str:
    """Return what stands between two replaced pieces.

    Args:
        gap: What stood between them in the source. Line breaks, tabs and wide spaces lay the
            text out and stay.
        before: End of the source's left piece.
        left: The left replacement.
        right: The right replacement.
        target: BCP 47 tag of the replacements' language.

    Returns:
        The gap, or a space where an unspaced script had none, or nothing where one needs none.
    """
    if not left or not right or gap not in ("", " ", "  ", "\u3000"):
        return gap
    ends_unspaced = _UNSPACED.match(left[-1]) is not None
    starts_unspaced = _UNSPACED.match(right[0]) is not None
    if _is_unspaced(target):
        if not (ends_unspaced or starts_unspaced):
            return gap
        # A sentence left without its full stop keeps the space, the only border it has.
        is_open = _SENTENCE_END.search(before) and _LETTER.match(left[-1])
        return gap if is_open else ""
    if gap == "\u3000":
        return " "
    if gap or not _UNSPACED.match(before[-1:]) or (ends_unspaced and starts_unspaced):
        return gap
    return "" if _OPENING.match(left[-1]) or _CLOSING.match(right[0]) else " "


@lru_cache(maxsize=256)
def _is_unspaced(tag: str) -> bool:
    from langchain_xlm.text.languages import likely_script

    return likely_script(tag) in _UNSPACED_SCRIPTS
