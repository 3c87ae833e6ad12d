"""What counts as a text, checked before anything else sees it."""

from __future__ import annotations

import re
from typing import Final

from langchain_xlm.errors import InputError

__all__ = ["check_text"]

_SURROGATE: Final = re.compile("[\ud800-\udfff]")
# All of C0 and DEL but those that lay text out: tab, line feed, vertical tab, form feed, return.
_CONTROL: Final = re.compile("[\x00-\x08\x0e-\x1f\x7f]")


def check_text(text: object, *, what: str = "text", allow_blank: bool = False) -> str:
    """Return a text that every later step can take, or say why it cannot be one.

    Control characters without meaning in a text (NUL, escape, delete, ...), which tokenizers
    drop or take for unknown, become spaces: the length and every other character stay.

    Args:
        text: What the caller gave.
        what: What to call it in messages.
        allow_blank: True lets a text of nothing but whitespace pass.

    Returns:
        The text, of the same length.

    Raises:
        InputError: Not a string, blank, or with half of a surrogate pair.
    """
    if not isinstance(text, str):
        raise InputError(f"The {what} must be a string, not {_kind(text)}.")
    if (half := _SURROGATE.search(text)) is not None:
        raise InputError(
            f"The {what} has half of a surrogate pair (U+{ord(half[0]):04X}) at position"
            f" {half.start()}, which stands for no character. Decode the bytes again, or drop it"
            " with text.encode('utf-8', 'ignore').decode('utf-8')."
        )
    cleaned = _CONTROL.sub(" ", text)
    if not allow_blank and not cleaned.strip():
        raise InputError(f"The {what} is blank. Give a text with at least one word.")
    return cleaned


def _kind(value: object) -> str:
    if value is None:
        return "None"
    name = type(value).__name__
    if isinstance(value, bytes | bytearray):
        return f"{name}; decode it first, for example with .decode('utf-8')"
    return name
