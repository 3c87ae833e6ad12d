"""Which pieces have nothing to translate."""

from __future__ import annotations

import re

# Addresses are letters, but no words: a model would break them.
_ADDRESS = re.compile(
    r"""
    (?: https?:// | ftp:// | www\. ) \S+      # web addresses
    | (?<![\w.+-]) [\w.+-]{1,64} @ [\w-]{1,63} (?: \.[\w-]{1,63} )+  # mail addresses
    | @ \w+                                   # names on social networks
    """,
    re.VERBOSE | re.IGNORECASE,
)


def is_wordless(text: str) -> bool:
    """Tell whether a text has no word in any script.

    Digits, punctuation, emoji, and web or mail addresses are not words. A model that is asked to
    translate them has nothing to go by and makes something up, so they are taken over instead.

    Args:
        text: A piece of a text.

    Returns:
        True for a piece without words.
    """
    return not any(character.isalpha() for character in _ADDRESS.sub(" ", text))
