"""What is no text is refused with the value and the next step; the rest keeps its length."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from langchain_xlm.errors import InputError
from langchain_xlm.text.cleaning import check_text


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (None, "must be a string, not None"),
        (b"text", r"not bytes; decode it first, for example with \.decode\('utf-8'\)"),
        (bytearray(b"text"), "not bytearray; decode"),
        (3, "not int"),
        (["text"], "not list"),
        ("", "is blank"),
        (" \t\r\n\u3000", "is blank"),
        ("\0\0", "is blank"),
        ("ab\ud83dc", r"half of a surrogate pair \(U\+D83D\) at position 2"),
        ("\udc00", "at position 0"),
    ],
)
def test_refused(value: object, message: str) -> None:
    with pytest.raises(InputError, match=message):
        check_text(value)


def test_the_message_names_the_text() -> None:
    with pytest.raises(InputError, match=r"^The text 3 must be"):
        check_text(None, what="text 3")


def test_blank_passes_where_allowed() -> None:
    assert check_text(" \n", allow_blank=True) == " \n"
    assert check_text("", allow_blank=True) == ""


def test_control_characters_become_spaces() -> None:
    assert check_text("a\0b\x1b[0m\x7f\x1fc") == "a b [0m  c"


@pytest.mark.parametrize(
    "text",
    ["a\tb\r\nc\vd\fe\x85f\u2028g", "e\u0301", "\u200fשלום\u200e", "👨‍👩‍👧", "\ufeffa", "مرحبا"],
)
def test_marks_emoji_and_line_breaks_stay(text: str) -> None:
    assert check_text(text) == text


@given(st.text(alphabet=st.characters(exclude_categories=["Cs"])))
def test_length_and_lines_stay(text: str) -> None:
    cleaned = check_text(text, allow_blank=True)
    assert len(cleaned) == len(text)
    assert check_text(cleaned, allow_blank=True) == cleaned
    assert all(
        a == b or (b == " " and a < " ") or a == "\x7f" for a, b in zip(text, cleaned, strict=True)
    )
