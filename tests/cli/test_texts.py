from __future__ import annotations

import io
import sys

import pytest
import typer

from langchain_xlm.cli.texts import STANDARD_INPUT, GivenText, read_texts
from langchain_xlm.errors import InputError


@pytest.fixture
def stdin(monkeypatch):
    def feed(raw: bytes, *, terminal: bool = False) -> None:
        stream = io.TextIOWrapper(io.BytesIO(raw), encoding="utf-8")
        monkeypatch.setattr(stream, "isatty", lambda: terminal, raising=False)
        monkeypatch.setattr(sys, "stdin", stream)

    return feed


def test_arguments_come_first_then_files_in_order(tmp_path):
    for name in ("b", "a"):
        (tmp_path / name).write_text(f"text of {name}\n", encoding="utf-8")
    given = list(read_texts(["one", "two"], [tmp_path / "b", tmp_path / "a"]))
    assert [each.text for each in given] == ["one", "two", "text of b\n", "text of a\n"]
    assert [each.origin for each in given] == [
        "argument 1",
        "argument 2",
        str(tmp_path / "b"),
        str(tmp_path / "a"),
    ]


def test_standard_input_is_read_when_nothing_else_is_given(stdin):
    stdin("größer\r\nund kleiner".encode())
    assert list(read_texts(None, None)) == [GivenText("größer\r\nund kleiner", "standard input")]


def test_a_dash_is_standard_input(stdin):
    stdin(b"piped")
    assert [each.text for each in read_texts(["given"], [STANDARD_INPUT])] == ["given", "piped"]


def test_a_terminal_is_not_waited_for(stdin):
    stdin(b"", terminal=True)
    with pytest.raises(typer.BadParameter, match="--file PATH"):
        list(read_texts(None, None))


def test_lines_keep_their_numbers_and_empty_lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_bytes("first\r\n\nthird\u2028still third".encode())
    assert list(read_texts(None, [path], lines=True)) == [
        GivenText("first", f"{path}:1", 1),
        GivenText("", f"{path}:2", 2),
        GivenText("third\u2028still third", f"{path}:3", 3),
    ]


@pytest.mark.parametrize("lines", [False, True])
def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path, lines):
    path = tmp_path / "bom.txt"
    path.write_bytes(b"\xef\xbb\xbfHello")
    assert [each.text for each in read_texts(None, [path], lines=lines)] == ["Hello"]


def test_what_is_not_utf8_is_named_with_its_place(tmp_path):
    path = tmp_path / "latin1.txt"
    path.write_bytes("grün\nschön".encode("latin-1"))
    with pytest.raises(InputError, match=r"latin1\.txt is not UTF-8: byte 0xfc at offset 2"):
        list(read_texts(None, [path]))
    with pytest.raises(InputError, match=r"latin1\.txt:1 is not UTF-8"):
        list(read_texts(None, [path], lines=True))


def test_lines_are_read_as_they_are_asked_for():
    class Endless(io.RawIOBase):
        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            buffer[:2] = b"a\n"
            return 2

    endless = io.TextIOWrapper(io.BufferedReader(Endless()))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "stdin", endless)
        texts = read_texts(None, [STANDARD_INPUT], lines=True)
        assert next(texts).text == "a"
        assert next(texts).origin == "standard input:2"
