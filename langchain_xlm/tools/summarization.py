"""The tool that summarizes."""

from __future__ import annotations

from typing import Any, Literal

from pydantic import BaseModel, Field

from langchain_xlm.engines.abstractive import NOT_SHRINKING, WrittenSummary, write_summary
from langchain_xlm.engines.directions import Direction
from langchain_xlm.engines.encoder import Encoder
from langchain_xlm.engines.extractive import (
    ALREADY_SHORT,
    REPETITIONS,
    TOO_LONG,
    Extract,
    extract_summary,
)
from langchain_xlm.engines.generator import FLAGS, Generator
from langchain_xlm.engines.summary_length import SummaryLength
from langchain_xlm.errors import ConfigurationError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.text.detection import Detection, detect_language
from langchain_xlm.text.languages import find_language
from langchain_xlm.tools.decoding_fields import DecodingFields
from langchain_xlm.tools.results import (
    DetectedLanguage,
    SummaryPiece,
    SummaryResult,
    SummarySentence,
    TranslationResult,
)
from langchain_xlm.tools.sharing import loading_arguments
from langchain_xlm.tools.tool import CheckedText, XLMTool
from langchain_xlm.tools.translation import NamedLanguage, XLMTranslationTool, describe_flags

_DEFAULT_SENTENCES = 3

NOTES = {
    ALREADY_SHORT: "the text was short enough already and is returned whole",
    REPETITIONS: "sentences that stand several times in the text were counted once",
    TOO_LONG: "the summary is longer than asked for",
    NOT_SHRINKING: "the model made the text no shorter, so it was not summarized further",
}
"""What each flag of a `SummaryResult` says, in the words that the agent reads. Those that are
missing here are explained by `FLAGS` in `engines.generator`."""

# Flags that the reader of a summary can do without.
_QUIET = {REPETITIONS, "copied", "repetition_retried", "empty_retried"}


class SummarizationArguments(BaseModel):
    """What an agent passes to `xlm_summarize`."""

    text: CheckedText = Field(
        description="The text to summarize, complete and unchanged, of any length and in any"
        " language."
    )
    max_sentences: int | None = Field(
        default=None,
        ge=1,
        description="How many sentences the summary may have at the most. Leave both limits out"
        " for a short summary.",
    )
    max_words: int | None = Field(
        default=None, ge=1, description="How many words the summary may have at the most."
    )
    target_language: NamedLanguage = Field(
        default=None,
        description="The language of the summary, as a code such as 'fr' or a name such as"
        " 'French'. Leave it out to keep the language of the text.",
    )
    source_language: NamedLanguage = Field(
        default=None,
        description="The language of the text, as a code or a name. Leave it out to have it"
        " detected.",
    )


class XLMSummarizationTool(DecodingFields, XLMTool):
    """Summarizes a document of any length, in its own language or another.

    Example:
        ```python
        tool = XLMSummarizationTool()
        tool.invoke({"text": article, "max_sentences": 3, "target_language": "German"})
        ```
    """

    name: str = "xlm_summarize"
    description: str = (
        "Summarize a text of any length and in any of many languages, in its own language or in"
        " another one given as target_language. Returns the summary alone; a line that begins"
        " with 'Note:' may follow where something needs attention. It runs locally. Use it for"
        " articles, reports and other long texts before answering questions about their gist."
    )
    args_schema: type[BaseModel] = SummarizationArguments
    strategy: Literal["auto", "extractive", "abstractive"] = "auto"
    """`"extractive"` chooses the document's most central sentences, with `model` as the encoder;
    `"abstractive"` has a sequence-to-sequence checkpoint write the summary; `"auto"` is
    abstractive if `summarization_model` is given, else extractive."""
    summarization_model: str | None = None
    """Sequence-to-sequence checkpoint for abstractive summaries, such as
    "csebuetnlp/mT5_multilingual_XLSum"; None takes `model` where the strategy is
    `"abstractive"`."""
    prompt: str = ""
    """What that checkpoint wants in front of a text, such as "summarize: "."""
    translation_model: str = "starter"
    """Sequence-to-sequence checkpoint that translates the summary when another language is asked
    for."""
    max_sentences: int | None = Field(default=None, ge=1)
    """Length for calls that name none; 3 sentences if `max_words` is None too."""
    max_words: int | None = Field(default=None, ge=1)
    """Length for calls that name none, in words."""

    def specs(self) -> tuple[LoadSpec, ...]:
        """Return what the tool loads when it is used, the translation model last."""
        return (self._own_spec(), *self._translator().specs())

    def flow(
        self,
        text: str,
        max_sentences: int | None = None,
        max_words: int | None = None,
        target_language: str | None = None,
        source_language: str | None = None,
    ) -> Flow[tuple[str, dict[str, Any]]]:
        """Summarize one document for an agent.

        Args:
            text: Any length, not blank.
            max_sentences: Length of the summary; None leaves it to the tool's fields.
            max_words: Length of the summary in words, likewise.
            target_language: Language of the summary by any name; None keeps the document's.
            source_language: Language of the document by any name; None detects it.

        Yields:
            Futures to wait for.

        Returns:
            The summary, with a note where something needs attention, and a `SummaryResult` as a
            dict.
        """
        length = self._length(max_sentences, max_words)
        direction: Direction | None = None
        found: Detection | None = None
        if target_language is not None:
            # Asked first, so that an unknown language is reported before the long work.
            generator = Generator(self._translator().load_spec("seq2seq"))
            direction = yield from generator.direction(
                text, source=source_language, target=target_language
            )
            language, found = direction.source, direction.detected
        elif source_language is not None:
            language = find_language(source_language).tag
        else:
            found = detect_language(text)
            language = found.tag if found else None
        summary = yield from self._summarize(text, language, length)
        translation: TranslationResult | None = None
        if direction is not None and direction.source != direction.target and summary.text.strip():
            translation = yield from self._translator().translation(
                summary.text, direction.target or "", direction.source
            )
        result = summary.model_copy(
            update={
                "text": translation.text if translation else summary.text,
                "source_language": language,
                "detected": None
                if found is None
                else DetectedLanguage(language=found.tag, confidence=found.confidence),
                "target_language": direction.target if direction else None,
                "translation": translation,
            }
        )
        return _content(result), result.artifact()

    def _length(self, max_sentences: int | None, max_words: int | None) -> SummaryLength:
        if max_sentences is None and max_words is None:
            max_sentences, max_words = self.max_sentences, self.max_words
        if max_sentences is None and max_words is None:
            max_sentences = _DEFAULT_SENTENCES
        return SummaryLength(max_sentences, max_words)

    @property
    def _abstractive(self) -> bool:
        return self.strategy == "abstractive" or (
            self.strategy == "auto" and self.summarization_model is not None
        )

    def _own_spec(self) -> LoadSpec:
        if not self._abstractive:
            return self.load_spec("encoder")
        name = self.summarization_model or self.model
        if name == "starter":
            raise ConfigurationError(
                "The bundled starter has no model that writes summaries. Give a checkpoint such as"
                " summarization_model='csebuetnlp/mT5_multilingual_XLSum', or"
                " strategy='extractive'."
            )
        return self.load_spec("seq2seq", model=name)

    def _translator(self) -> XLMTranslationTool:
        return XLMTranslationTool(**loading_arguments(self, model=self.translation_model))

    def _summarize(
        self, text: str, language: str | None, length: SummaryLength
    ) -> Flow[SummaryResult]:
        spec = self._own_spec()
        if self._abstractive:
            generator = Generator(spec)
            written = yield from write_summary(
                generator,
                text,
                language=language,
                length=length,
                settings=self.settings(),
                prompt=self.prompt,
            )
            revision = None
            if written.pieces:
                revision = (yield from generator.info()).revision
            return _of_written(written, text, model=spec.model, revision=revision)
        encoder = Encoder(spec)
        extract = yield from extract_summary(encoder, text, language=language, length=length)
        revision = None
        if extract.ranked:
            revision = (yield from encoder.info()).revision
        return _of_extract(extract, text, model=spec.model, revision=revision)


def _of_extract(extract: Extract, text: str, *, model: str, revision: str | None) -> SummaryResult:
    rows = zip(extract.indices, extract.sentences, extract.scores, strict=True)
    return SummaryResult(
        text=extract.text,
        strategy="extractive",
        sentences=tuple(SummarySentence(index=i, text=t, score=s) for i, t, s in rows),
        compression=len(extract.text) / len(text),
        flags=extract.flags,
        model=model,
        revision=revision,
    )


def _of_written(
    written: WrittenSummary, text: str, *, model: str, revision: str | None
) -> SummaryResult:
    return SummaryResult(
        text=written.text,
        strategy="abstractive",
        pieces=tuple(
            SummaryPiece(
                round=piece.round,
                start=piece.start,
                end=piece.end,
                source=piece.source,
                summary=piece.summary,
                flags=piece.flags,
            )
            for piece in written.pieces
        ),
        compression=len(written.text) / len(text),
        flags=written.flags,
        model=model,
        revision=revision,
    )


def _content(result: SummaryResult) -> str:
    """Put the summary and what a reader must know of it into the words of a tool message."""
    told = [NOTES.get(flag) or FLAGS[flag] for flag in result.flags if flag not in _QUIET]
    lines = [result.text]
    if told:
        lines.append(f"Note: {'; '.join(told)}.")
    if result.translation and (note := describe_flags(result.translation)):
        lines.append(note)
    return "\n".join(lines)
