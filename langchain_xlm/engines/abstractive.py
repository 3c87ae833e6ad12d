"""Summaries that a sequence-to-sequence checkpoint writes, of documents of any length."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from langchain_xlm.engines.directions import ModelInfo
from langchain_xlm.engines.extractive import ALREADY_SHORT, TOO_LONG
from langchain_xlm.engines.generator import GeneratedText, GenerationSettings, Generator
from langchain_xlm.engines.summary_length import SummaryLength
from langchain_xlm.errors import UnsupportedLanguageError
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.text.segments import split_sentences

NOT_SHRINKING = "not_shrinking"

# A round that leaves more than this share of the text gets nowhere: another would be the same.
_LEAST_PROGRESS = 0.9


@dataclass(frozen=True, slots=True)
class WrittenPiece:
    """A part of a document and what the model wrote of it.

    Attributes:
        round: 0 for parts of the document; later rounds summarize the summaries before.
        start: Where the part begins in the text of its round.
        end: Where it ends.
        source: The part.
        summary: What was written.
        flags: Keys of `FLAGS` of `engines.generator`.
    """

    round: int
    start: int
    end: int
    source: str
    summary: str
    flags: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class WrittenSummary:
    """A written summary with everything that it was made of.

    Attributes:
        text: The summary.
        pieces: Every part of every round, in order; the parts of round 0 cover the document.
        flags: The flags of the pieces, and `already_short`, `not_shrinking`,
            `longer_than_asked`.
    """

    text: str
    pieces: tuple[WrittenPiece, ...]
    flags: tuple[str, ...]


def write_summary(
    generator: Generator,
    text: str,
    *,
    language: str | None,
    length: SummaryLength,
    settings: GenerationSettings | None = None,
    prompt: str = "",
) -> Flow[WrittenSummary]:
    """Have a model summarize a document.

    What fits into the model's window is summarized at once. A longer document is cut at its
    sentences into parts that fit; their summaries, joined, are summarized again until they are
    short enough or the model has seen all of them at once. A document that is short enough
    comes back whole, and no model is loaded.

    Args:
        generator: The checkpoint.
        text: The document, not blank.
        language: Its BCP 47 tag; None if unknown.
        length: How long the summary may be. It decides when to stop; what the model writes is
            never cut.
        settings: How to decode; None leaves everything as the checkpoint has it.
        prompt: What the checkpoint wants in front of every part, such as `"summarize: "`.

    Yields:
        Futures to wait for.

    Returns:
        The summary.

    Source:
        Wu et al. 2021, section 2, summarize the summaries of the parts of a book in the same
        way, https://arxiv.org/abs/2109.10862
    """
    if _allows(length, text, language):
        return WrittenSummary(text, (), (ALREADY_SHORT,))
    source, target = yield from _languages(generator, language)
    pieces: list[WrittenPiece] = []
    flags: list[str] = []
    current = text
    while True:
        (written,) = yield from generator.generate(
            [current],
            source=source,
            target=target,
            settings=settings,
            granularity="window",
            prompt=prompt,
        )
        parts = _parts(written, number=pieces[-1].round + 1 if pieces else 0)
        pieces += parts
        if len(parts) == 1 or _allows(length, written.text, language):
            break
        if len(written.text) > _LEAST_PROGRESS * len(current):
            flags.append(NOT_SHRINKING)
            break
        current = written.text
    if not _allows(length, written.text, language):
        flags.append(TOO_LONG)
    own = [flag for piece in pieces for flag in piece.flags]
    return WrittenSummary(written.text, tuple(pieces), tuple(dict.fromkeys([*flags, *own])))


def _languages(generator: Generator, language: str | None) -> Flow[tuple[str | None, str | None]]:
    """Name the document's language to the model for reading and writing, if it knows it."""
    info = yield from generator.info()
    known = _known(info, language)
    # Elsewhere than in the first token, a target would make the checkpoint translate.
    writes = known if info.family.target == "first-token" else None
    return known if info.sources else language, writes


def _known(info: ModelInfo, language: str | None) -> str | None:
    if language is None or info.languages is None:
        return None
    try:
        return info.languages.resolve(language)[0].tag
    except UnsupportedLanguageError:
        return None


def _parts(written: GeneratedText, *, number: int) -> Sequence[WrittenPiece]:
    return [
        WrittenPiece(number, piece.start, piece.end, piece.source, piece.text, piece.flags)
        for piece in written.pieces
    ]


def _allows(length: SummaryLength, text: str, language: str | None) -> bool:
    return length.allows([segment.text for segment in split_sentences(text, language or "en")])
