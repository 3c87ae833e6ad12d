from __future__ import annotations

import pytest

from langchain_xlm.engines.wordless import is_wordless


@pytest.mark.parametrize(
    "text",
    ["", "  ", "123", "12:30", "3.14 €", "---", "。。。", "🙂🎉", "https://example.org/a/b?c=d",
     "www.example.org", "me@example.org", "@someone 🙂", "١٢٣", "100 %"],
)  # fmt: skip
def test_numbers_signs_and_addresses_are_no_words(text: str) -> None:
    assert is_wordless(text)


@pytest.mark.parametrize(
    "text", ["a", "Hello", "12 km", "天", "あ", "ไทย", "Да", "See https://example.org", "é", "1st"]
)
def test_letters_of_any_script_are_words(text: str) -> None:
    assert not is_wordless(text)


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["a" * 1_000_000, "a." * 500_000, "@a" * 500_000, "a@" * 500_000])
def test_a_megabyte_without_a_space_is_quick(text: str) -> None:
    is_wordless(text)
