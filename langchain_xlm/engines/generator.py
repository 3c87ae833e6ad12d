"""Texts to texts: translation, and whatever else a sequence-to-sequence checkpoint was made for."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from langchain_xlm.engines.decoding import GenerationSettings
from langchain_xlm.engines.directions import Direction, ModelInfo, find_direction
from langchain_xlm.engines.generator_session import GenerationRequest, GeneratorSession, WrittenRow
from langchain_xlm.errors import InputError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.runtime.pool import SharedModel
from langchain_xlm.text.cleaning import check_text
from langchain_xlm.text.segments import Segment, reassemble

__all__ = ["FLAGS", "GeneratedPiece", "GeneratedText", "GenerationSettings", "Generator"]

Granularity = Literal["sentence", "window"]

_WORD = re.compile(r"\w+")
# Shorter pieces are often names, titles or loan words.
_SENTENCE_WORDS = 4

FLAGS = {
    "copied": "taken over as it is, for it has no words to translate",
    "empty": "the model wrote nothing for it",
    "empty_retried": "written with other settings, for the model wrote nothing at first",
    "length_limit": "cut off at the length limit of the output",
    "repetition": "repeats itself and cannot be relied on",
    "repetition_retried": "written with other settings, for it repeated itself at first",
    "untranslated": "came back in the words of the source",
    "unknown_characters": "some characters are unknown to the model and may be missing",
    "same_language": "already in the target language and returned as it is",
    "unchecked_direction": "the model does not say which languages it knows",
    "uncertain_source": "the source language is a guess; name it if the result looks wrong",
}
"""What each flag says of a piece or of a text."""


@dataclass(frozen=True, slots=True)
class GeneratedPiece:
    """A stretch of a text that went through the model at once.

    Attributes:
        source: The stretch; equal to `text[start:end]`.
        start: Where it begins in the text.
        end: Where it ends.
        text: What the model wrote.
        flags: Keys of `FLAGS`.
    """

    source: str
    start: int
    end: int
    text: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class GeneratedText:
    """What became of one text.

    Attributes:
        text: The pieces put together with the spacing and the line breaks of the source.
        pieces: Every piece, in order.
        direction: The languages as the model was given them.
        flags: The flags of the direction and of the pieces, each once.
    """

    text: str
    pieces: tuple[GeneratedPiece, ...]
    direction: Direction
    flags: tuple[str, ...]


class Generator:
    """A sequence-to-sequence checkpoint; loads nothing until it is first asked."""

    def __init__(self, spec: LoadSpec) -> None:
        """Describe a generator.

        Args:
            spec: What to load and how; its task must be "seq2seq".
        """
        self.spec = spec
        self._model = SharedModel(spec, GeneratorSession)
        self._info: ModelInfo | None = None

    def info(self) -> Flow[ModelInfo]:
        """Return what the checkpoint is, loading it first where needed."""
        if self._info is None:
            self._info = yield self._model.call(lambda session: session.info)
        return self._info

    def direction(
        self, text: str, *, source: str | None = None, target: str | None = None
    ) -> Flow[Direction]:
        """Find out what the model must be told to bring a text into a language.

        Args:
            text: Its language is detected where none is given.
            source: Its language by any name.
            target: The language wanted by any name; None for a checkpoint with one task.

        Yields:
            Futures to wait for.

        Returns:
            The direction; `generate` takes its tags.

        Raises:
            UnsupportedLanguageError: A language that nothing answers to, or that the model does
                not know.
        """
        info: ModelInfo = yield from self.info()
        return find_direction(info, text, source=source, target=target)

    def generate(
        self,
        texts: Sequence[str],
        *,
        source: str | None = None,
        target: str | None = None,
        settings: GenerationSettings | None = None,
        granularity: Granularity = "sentence",
        prompt: str = "",
        progress: Callable[[float], None] | None = None,
    ) -> Flow[list[GeneratedText]]:
        """Send texts through the model, each in pieces that fit its window.

        Args:
            texts: Texts of any length; blank ones come back as they are.
            source: Their language by any name; None detects that of each text.
            target: The language wanted by any name; None for a checkpoint with one task, such
                as summarization.
            settings: How to decode; None leaves everything as the checkpoint has it.
            granularity: "sentence" gives the model one sentence at a time, as translation
                models are trained; "window" as many neighbouring sentences as fit.
            prompt: What the checkpoint wants in front of every piece to know its task, such as
                "summarize: "; it counts towards the window.
            progress: Called on the model's thread with the number of source characters that
                were finished since the last call.

        Yields:
            Futures to wait for.

        Returns:
            One result for each text, in order. A text gets the same result whatever else is
            generated with it, up to the rounding of floats.

        Raises:
            InputError: A text is no string or cannot be encoded.
        """
        if isinstance(texts, str):
            raise InputError("Texts must be a list of strings, not one string: wrap it in a list.")
        checked = tuple(
            check_text(text, what=f"text {index}", allow_blank=True)
            for index, text in enumerate(texts)
        )
        info: ModelInfo = yield from self.info()
        directions = tuple(
            find_direction(info, text, source=source, target=target) for text in checked
        )
        if prompt:
            directions = tuple(replace(each, prefix=prompt + each.prefix) for each in directions)
        request = GenerationRequest(
            checked, directions, settings or GenerationSettings(), packed=granularity == "window"
        )
        rows: list[WrittenRow] = yield self._model.submit(
            request,
            progress=None
            if progress is None
            else lambda units: progress(sum(len(unit.payload.segment.text) for unit in units)),
        )
        own: list[list[WrittenRow]] = [[] for _ in checked]
        for row in rows:
            own[row.index].append(row)
        return [
            _assemble(text, direction, written)
            for text, direction, written in zip(checked, directions, own, strict=True)
        ]


def _assemble(text: str, direction: Direction, rows: Sequence[WrittenRow]) -> GeneratedText:
    segments: list[Segment] = [row.segment for row in rows]
    pieces = tuple(
        GeneratedPiece(
            source=row.segment.text,
            start=row.segment.start,
            end=row.segment.end,
            text=row.text,
            flags=(*row.flags, "untranslated") if _is_untranslated(row, direction) else row.flags,
        )
        for row in rows
    )
    return GeneratedText(
        text=reassemble(text, segments, [row.text for row in rows], target=direction.target),
        pieces=pieces,
        direction=direction,
        flags=tuple(
            dict.fromkeys([*direction.flags, *(flag for piece in pieces for flag in piece.flags)])
        ),
    )


def _is_untranslated(row: WrittenRow, direction: Direction) -> bool:
    """Tell whether a sentence came back as it was; names and single words rightly may."""
    if direction.target is None or direction.source == direction.target or "copied" in row.flags:
        return False
    words = _WORD.findall(row.segment.text.casefold())
    return len(words) >= _SENTENCE_WORDS and words == _WORD.findall(row.text.casefold())
