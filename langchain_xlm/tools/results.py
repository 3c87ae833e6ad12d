"""What the tools hand to a program: frozen models, dumped to plain dicts as artifacts."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, ConfigDict


class Result(BaseModel):
    """A result that cannot be changed once it is made."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    def artifact(self) -> dict[str, Any]:
        """Return the result as a plain dict that `json.dumps` takes as it is."""
        return self.model_dump(mode="json")


class DetectedLanguage(Result):
    """The language that a text was found to be in."""

    language: str
    """Its BCP 47 tag, among those that the model knows."""
    confidence: float
    """From 0 to 1."""


class TranslatedPiece(Result):
    """A piece of the text, as long as the model translates at once."""

    source: str
    """The piece as it stands in the text."""
    translation: str
    """What became of it."""
    flags: tuple[str, ...] = ()
    """What a reader should know of this piece; `FLAGS` in `engines.generator` explains each."""


class TranslationResult(Result):
    """A translated text."""

    text: str
    """The translation, with the spacing and the line breaks of the source."""
    source_language: str | None
    """BCP 47 tag of the source; None where a text has no letters, so no language."""
    target_language: str
    """BCP 47 tag of the translation."""
    detected: DetectedLanguage | None = None
    """How the source language was found; None where the caller named it."""
    pieces: tuple[TranslatedPiece, ...] = ()
    """Every piece in the order of the text."""
    similarity: float | None = None
    """Cosine of the sentence vectors of source and translation; None without an encoder."""
    flags: tuple[str, ...] = ()
    """The flags of the pieces and of the text as a whole, each once."""
    model: str
    """Hub id or folder of the model, or "starter"."""
    revision: str | None = None
    """Commit or version of the checkpoint; None for a local folder."""


class ScoredPiece(Result):
    """A piece of a longer text with its own scores."""

    text: str
    """The piece as it stands in the text."""
    tokens: int
    """Its length in the model's tokens: its weight in the text's scores."""
    scores: dict[str, float]
    """Probability of each label."""


class SentimentResult(Result):
    """The sentiment of a text."""

    label: str
    """The label with the highest score: `negative`, `neutral` or `positive` where the checkpoint
    means that, otherwise the checkpoint's own name."""
    scores: dict[str, float]
    """Probability of each label, over the whole text."""
    pieces: tuple[ScoredPiece, ...] = ()
    """The pieces that a text longer than the model's window was cut into."""


class SummarySentence(Result):
    """A sentence that was taken over from the document."""

    index: int
    """Its place among the sentences of the document, from 0."""
    text: str
    """The sentence, in the language of the summary."""
    score: float
    """How central it is to the document."""


class SummaryPiece(Result):
    """A part of the document with the summary that a model wrote of it."""

    source: str
    """The part as it was given to the model."""
    summary: str
    """What the model wrote."""
    flags: tuple[str, ...] = ()
    """What a reader should know of this piece."""


class SummaryResult(Result):
    """A summary of a document."""

    text: str
    """The summary."""
    strategy: Literal["extractive", "abstractive"]
    """How it was made."""
    sentences: tuple[SummarySentence, ...] | None = None
    """The chosen sentences of an extractive summary, in the order of the document."""
    pieces: tuple[SummaryPiece, ...] | None = None
    """The parts of an abstractive summary."""
    compression: float
    """Length of the summary divided by that of the document, in characters."""
