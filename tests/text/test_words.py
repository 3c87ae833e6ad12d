"""Words are counted sensibly with and without spaces."""

from __future__ import annotations

import pytest

from langchain_xlm.text.words import count_words


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("", 0),
        (" \n\t", 0),
        ("One, two – three!", 3),
        ("well-known isn't two", 3),
        ("... !!! 😀 —", 0),
        ("3.14 and 2,000", 3),
        ("Café café", 2),
        ("สวัสดีครับ", 2),  # seven consonants and leading vowels; the marks above are not counted
        ("今天天气很好", 3),
        ("今天天气很好。我们去公园吧!", 6),
        ("東京タワー", 3),
        ("我用 Python 写代码", 4),
        ("한국어는 띄어쓰기가 있다", 3),
        ("مرحبا بالعالم", 2),
        ("नमस्ते दुनिया", 2),
        ("a" * 40, 1),
        ("a" * 41, 2),
        ("a" * 1_000_000, 25_000),
    ],
)
def test_counts(text: str, words: int) -> None:
    assert count_words(text) == words
