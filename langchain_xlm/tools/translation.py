"""The tool that translates."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from typing import Annotated, Any

from pydantic import BaseModel, BeforeValidator, Field

from langchain_xlm.engines.decoding import GenerationSettings
from langchain_xlm.engines.directions import Direction, ModelInfo
from langchain_xlm.engines.encoder import Embedded, Encoder, cosines
from langchain_xlm.engines.generator import FLAGS, GeneratedText, Generator
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import Flow, run_flow, run_flow_async
from langchain_xlm.text.cleaning import check_text
from langchain_xlm.tools.decoding_fields import DecodingFields
from langchain_xlm.tools.results import DetectedLanguage, TranslatedPiece, TranslationResult
from langchain_xlm.tools.tool import CheckedText, XLMTool

# Flags that the reader of a translation can do without.
_QUIET = {"copied", "empty_retried", "repetition_retried"}


def _none_if_automatic(name: object) -> object:
    """Take what language models write for "I do not know" as what it means."""
    if isinstance(name, str) and name.strip().casefold() in {"", "auto", "detect", "unknown"}:
        return None
    return name


NamedLanguage = Annotated[str | None, BeforeValidator(_none_if_automatic)]
"""A language argument that may be left out."""


class TranslationArguments(BaseModel):
    """What an agent passes to `xlm_translate`."""

    text: CheckedText = Field(
        description="The text to translate, complete and unchanged, of any length. Line breaks"
        " and paragraphs are kept."
    )
    target_language: str = Field(
        description="The language to translate into: a code such as 'fr' or 'zh-Hant', or a name"
        " such as 'French'."
    )
    source_language: NamedLanguage = Field(
        default=None,
        description="The language of the text, as a code or a name. Leave it out to have it"
        " detected; give it for very short texts.",
    )


class XLMTranslationTool(DecodingFields, XLMTool):
    """Translates text of any length on a local model.

    Example:
        ```python
        tool = XLMTranslationTool(model="facebook/nllb-200-distilled-600M")
        tool.invoke({"text": "Good morning!", "target_language": "French"})
        ```
    """

    name: str = "xlm_translate"
    description: str = (
        "Translate a text of any length into another language, on a local model. Returns the"
        " translation alone, with the paragraphs of the text; a line that begins with 'Note:' may"
        " follow where something needs attention. Use one call for each target language; calls may"
        " run in parallel."
    )
    args_schema: type[BaseModel] = TranslationArguments
    reverse_weight: float | None = None
    """With beams, on a model that translates both ways (M2M100, NLLB, mBART-50, the starter): how
    much it counts in the choice among its wordings how well the source can be told from them.
    0.5 is a good beginning, 0 is off; None leaves it as the checkpoint has it."""
    similarity_model: str | None = None
    """Encoder that compares the meaning of source and translation, such as "starter" or
    "sentence-transformers/LaBSE"; None leaves the comparison out."""

    def settings(self) -> GenerationSettings:
        """Return the settings of decoding, as the fields stand now."""
        return replace(super().settings(), reverse_weight=self.reverse_weight)

    def specs(self) -> tuple[LoadSpec, ...]:
        """Return what the tool loads when it is used."""
        translator = self.load_spec("seq2seq")
        if self.similarity_model is None:
            return (translator,)
        return (translator, self.load_spec("encoder", model=self.similarity_model))

    def translate(
        self, text: str, target_language: str, source_language: str | None = None
    ) -> TranslationResult:
        """Translate from a program, without an agent.

        Args:
            text: Any length, not blank.
            target_language: The language to translate into, by any name.
            source_language: The language of the text; None detects it.

        Returns:
            The translation and everything known about it.
        """
        flow = self.translation(text, target_language, source_language)
        return run_flow(flow, model=self.model, timeout_s=self.timeout_s)

    async def atranslate(
        self, text: str, target_language: str, source_language: str | None = None
    ) -> TranslationResult:
        """Translate without blocking the event loop; see `translate`.

        Args:
            text: Any length, not blank.
            target_language: The language to translate into, by any name.
            source_language: The language of the text; None detects it.

        Returns:
            The translation and everything known about it.
        """
        flow = self.translation(text, target_language, source_language)
        return await run_flow_async(flow, model=self.model, timeout_s=self.timeout_s)

    def flow(
        self, text: str, target_language: str, source_language: str | None = None
    ) -> Flow[tuple[str, dict[str, Any]]]:
        """Translate one text for an agent.

        Args:
            text: Any length, not blank.
            target_language: The language to translate into, by any name.
            source_language: The language of the text; None detects it.

        Yields:
            Futures to wait for.

        Returns:
            The translation, with a note where something needs attention, and a
            `TranslationResult` as a dict.
        """
        result = yield from self.translation(text, target_language, source_language)
        note = describe_flags(result)
        return (f"{result.text}\n{note}" if note else result.text), result.artifact()

    def translation(
        self, text: str, target_language: str, source_language: str | None = None
    ) -> Flow[TranslationResult]:
        """Translate one text.

        Args:
            text: Any length, not blank.
            target_language: The language to translate into, by any name.
            source_language: The language of the text; None detects it.

        Yields:
            Futures to wait for.

        Returns:
            The translation and everything known about it.
        """
        text = check_text(text)
        generator = Generator(self.load_spec("seq2seq"))
        info = yield from generator.info()
        direction = yield from generator.direction(
            text, source=source_language, target=target_language
        )
        if direction.source == direction.target:
            return _unchanged(text, direction, info)
        (generated,) = yield from generator.generate(
            [text], source=direction.source, target=target_language, settings=self.settings()
        )
        similarity = None
        if self.similarity_model is not None and generated.text.strip():
            encoder = Encoder(self.load_spec("encoder", model=self.similarity_model))
            embedded: Embedded = yield from encoder.embed([text, generated.text])
            similarity = float(cosines(embedded.vectors[:1], embedded.vectors[1:])[0])
        return _result(generated, direction, info, similarity)


def describe_flags(result: TranslationResult) -> str:
    """Put what a reader must know of a translation into one line.

    Args:
        result: The translation.

    Returns:
        A line that begins with "Note:", or "" where there is nothing to say.
    """
    counts = Counter(flag for piece in result.pieces for flag in piece.flags)
    sentences = []
    for flag in result.flags:
        if flag in _QUIET:
            continue
        where = ""
        if counts[flag] and len(result.pieces) > 1:
            where = f" ({counts[flag]} of {len(result.pieces)} sentences)"
        sentences.append(FLAGS[flag] + where)
    if not sentences:
        return ""
    if result.detected is not None and {"same_language", "uncertain_source"} & {*result.flags}:
        found = result.detected
        sentences.append(f"detected {found.language!r} with confidence {found.confidence:.2f}")
    return f"Note: {'; '.join(sentences)}."


def _unchanged(text: str, direction: Direction, info: ModelInfo) -> TranslationResult:
    assert direction.target is not None, "a target was asked for"
    piece = TranslatedPiece(source=text, translation=text, flags=("same_language",))
    return TranslationResult(
        text=text,
        source_language=direction.source,
        target_language=direction.target,
        detected=_detected(direction),
        pieces=(piece,),
        flags=("same_language", *direction.flags),
        model=info.model,
        revision=info.revision,
        backend=info.backend,
    )


def _result(
    generated: GeneratedText, direction: Direction, info: ModelInfo, similarity: float | None
) -> TranslationResult:
    assert direction.target is not None, "a target was asked for"
    return TranslationResult(
        text=generated.text,
        source_language=direction.source,
        target_language=direction.target,
        detected=_detected(direction),
        pieces=tuple(
            TranslatedPiece(source=piece.source, translation=piece.text, flags=piece.flags)
            for piece in generated.pieces
        ),
        similarity=similarity,
        flags=tuple(dict.fromkeys([*direction.flags, *generated.flags])),
        model=info.model,
        revision=info.revision,
        backend=info.backend,
    )


def _detected(direction: Direction) -> DetectedLanguage | None:
    found = direction.detected
    if found is None:
        return None
    return DetectedLanguage(language=found.tag, confidence=found.confidence)
