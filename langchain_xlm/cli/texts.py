"""The texts that a command works on: from arguments, from files or from standard input."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, BinaryIO, Final

import typer

from langchain_xlm.errors import InputError

STANDARD_INPUT: Final = Path("-")

TextArguments = Annotated[
    list[str] | None,
    typer.Argument(metavar="TEXT", help="Texts; without any, standard input is read."),
]
SourceOption = Annotated[
    str | None,
    typer.Option(
        "--from", metavar="LANGUAGE", help="Language of the texts; detected when left out."
    ),
]
FileOption = Annotated[
    list[Path] | None,
    typer.Option(
        "--file",
        "-f",
        metavar="PATH",
        help="Read a text from this UTF-8 file; - is standard input. May be given several times.",
    ),
]
LinesOption = Annotated[
    bool, typer.Option("--lines", help="Take each line of a file as a text of its own.")
]


@dataclass(frozen=True, slots=True)
class GivenText:
    """A text and where it came from."""

    text: str
    origin: str
    """For messages: "argument 1", "letter.txt", "letter.txt:3", "standard input"."""
    line: int | None = None
    """Its line in a file that is read line by line, from 1."""


def read_texts(
    arguments: Sequence[str] | None, files: Sequence[Path] | None, *, lines: bool = False
) -> Iterator[GivenText]:
    """Yield the texts one at a time, so that a long file does not fill the memory.

    Args:
        arguments: Texts given as arguments.
        files: Files to read, `-` for standard input.
        lines: Whether each line of a file is a text of its own; otherwise the file is one.

    Yields:
        Arguments first, then files, in the order given.

    Raises:
        BadParameter: There is neither a text nor a file nor anything on standard input.
        InputError: A file is not UTF-8.
    """
    if not arguments and not files:
        if sys.stdin.isatty():
            raise typer.BadParameter(
                "give a text, --file PATH, or pipe a text into standard input",
                param_hint="TEXT",
            )
        files = [STANDARD_INPUT]
    for number, argument in enumerate(arguments or (), start=1):
        yield GivenText(argument, f"argument {number}")
    for path in files or ():
        if path == STANDARD_INPUT:
            yield from _read(sys.stdin.buffer, "standard input", lines=lines)
        else:
            with path.open("rb") as stream:
                yield from _read(stream, str(path), lines=lines)


def _read(stream: BinaryIO, name: str, *, lines: bool) -> Iterator[GivenText]:
    if not lines:
        yield GivenText(decode(stream.read(), name), name)
        return
    for number, line in enumerate(stream, start=1):
        origin = f"{name}:{number}"
        text = decode(line, origin, first=number == 1).rstrip("\r\n")
        yield GivenText(text, origin, number)


def decode(raw: bytes, name: str, *, first: bool = True) -> str:
    """Read bytes as UTF-8.

    Args:
        raw: The bytes.
        name: Where they came from, for the message.
        first: Whether they begin their file, where a byte order mark is left out.

    Returns:
        The text.

    Raises:
        InputError: They are something else; the message names the byte and the next step.
    """
    try:
        return raw.decode("utf-8-sig" if first else "utf-8")
    except UnicodeDecodeError as error:
        raise InputError(
            f"{name} is not UTF-8: byte 0x{error.object[error.start]:02x} at offset"
            f" {error.start} does not belong there. Convert it first, for example with"
            " `iconv -f latin1 -t utf-8`."
        ) from error
