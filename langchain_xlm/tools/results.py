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
    backend: Literal["torch", "ctranslate2"] = "torch"
    """The library that ran the model."""


class ScoredPiece(Result):
    """A piece of a text with its own scores."""

    text: str
    """The piece as it stands in the text."""
    start: int
    """Where it begins in the text, in characters."""
    end: int
    """Where it ends."""
    tokens: int
    """Its length in the model's tokens: its weight in the text's scores."""
    scores: dict[str, float]
    """Score of each label."""


class SentimentResult(Result):
    """The sentiment of a text."""

    label: str
    """The label with the highest score: `negative`, `neutral` or `positive` where the checkpoint
    means that, otherwise the checkpoint's own name."""
    scores: dict[str, float]
    """Score of each label, over the whole text; probabilities unless flagged `multi_label`."""
    checkpoint_scores: dict[str, float]
    """The same under the checkpoint's own label names (LABEL_2, 4 stars, POS)."""
    pieces: tuple[ScoredPiece, ...]
    """One piece for a text that fits into the model's window, else several, in order."""
    flags: tuple[str, ...] = ()
    """What a reader should know of the labels; `tools.sentiment.NOTES` explains each."""
    model: str
    """Hub id or folder of the model, or "starter"."""
    revision: str | None = None
    """Commit or version of the checkpoint; None for a local folder."""


class SummarySentence(Result):
    """A sentence that was taken over from the document."""

    index: int
    """Its place among the sentences of the document, from 0."""
    text: str
    """The sentence as it stands in the document."""
    score: float
    """How central it is to the document; an average sentence has 1."""


class SummaryPiece(Result):
    """A part of the document with the summary that a model wrote of it."""

    round: int
    """0 for parts of the document itself; in round 1 and later the summaries of the round
    before, joined, are summarized again."""
    start: int
    """Where the part begins in the text of its round, in characters."""
    end: int
    """Where it ends."""
    source: str
    """The part as it was given to the model."""
    summary: str
    """What the model wrote."""
    flags: tuple[str, ...] = ()
    """What a reader should know of this piece; `FLAGS` in `engines.generator` explains each."""


class SummaryResult(Result):
    """A summary of a document."""

    text: str
    """The summary, in the target language if one was asked for."""
    strategy: Literal["extractive", "abstractive"]
    """How it was made."""
    sentences: tuple[SummarySentence, ...] | None = None
    """The chosen sentences of an extractive summary, in the order of the document."""
    pieces: tuple[SummaryPiece, ...] | None = None
    """The parts of an abstractive summary, round by round, in order."""
    compression: float
    """Length of the summary, before any translation, over that of the document, in characters."""
    source_language: str | None = None
    """BCP 47 tag of the document; None where it has no letters, so no language."""
    detected: DetectedLanguage | None = None
    """How that was found."""
    target_language: str | None = None
    """BCP 47 tag of the summary where another language was asked for."""
    translation: TranslationResult | None = None
    """How the summary was translated, where it was."""
    flags: tuple[str, ...] = ()
    """What a reader should know; `tools.summarization.NOTES` explains each."""
    model: str
    """Hub id or folder of the model, or "starter"."""
    revision: str | None = None
    """Commit or version of the checkpoint; None for a local folder, or if none was needed."""
