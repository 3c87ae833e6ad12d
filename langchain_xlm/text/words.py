"""How many words a text has, in scripts with and without spaces."""

from __future__ import annotations

import re

# Letters written without spaces between words, by how many of them make a word on average:
# two in Chinese and Japanese, five in Thai, Lao, Khmer and Burmese. The marks above and below
# the consonants of the latter belong to them and are not counted.
_PAIRED = re.compile(
    r"[\u3041-\u30ff\u31f0-\u31ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff々〆\U00020000-\U0003ffff]"
)
_PAIRED_LETTERS = 2
_MAINLAND = re.compile(
    r"[\u0e01-\u0e30\u0e32\u0e33\u0e40-\u0e46\u0e81-\u0eb0\u0eb2\u0eb3\u0ec0-\u0ec6"
    r"\u1000-\u102a\u1780-\u17b3]"
)
_MAINLAND_LETTERS = 5
_MAINLAND_MARKS = re.compile(
    r"[\u0e31\u0e34-\u0e3a\u0e47-\u0e4e\u0eb1\u0eb4-\u0ebc\u0ec8-\u0ecd\u102b-\u103e\u17b4-\u17d3]"
)
# No word of a living language is this long: what is (encoded data, say) counts several times.
_LONGEST_WORD = 40


def count_words(text: str) -> int:
    """Count the words of a text.

    Between spaces stands one word if it holds a letter or digit. Scripts without spaces are
    counted by letters: two Han or kana letters make a word, five Thai, Lao, Khmer or Burmese
    ones. Runs of more than 40 characters count as one word for each 40 begun, so that a text
    without any space does not pass for a single word.

    Args:
        text: Any text.

    Returns:
        The number of words; 0 for a text without letters and digits.
    """
    text, paired = _PAIRED.subn(" ", text)
    text, mainland = _MAINLAND.subn(" ", _MAINLAND_MARKS.sub("", text))
    spaced = sum(
        -(-len(run) // _LONGEST_WORD)
        for run in text.split()
        if any(character.isalnum() for character in run)
    )
    return spaced + -(-paired // _PAIRED_LETTERS) + -(-mainland // _MAINLAND_LETTERS)
