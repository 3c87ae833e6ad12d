"""A sequence-to-sequence model in use: texts to rows of tokens, batches of rows to texts."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

from langchain_xlm.engines.cutting import cut_pieces
from langchain_xlm.engines.decoding import (
    GenerationSettings,
    Plan,
    decoder_window,
    length_limit,
    retries,
)
from langchain_xlm.engines.directions import Direction, ModelInfo
from langchain_xlm.engines.opening import OpenedModel, open_model
from langchain_xlm.engines.repetition import invented_repetition
from langchain_xlm.engines.reranking import Reranker, Source
from langchain_xlm.engines.wording import Wording
from langchain_xlm.engines.wordless import is_wordless
from langchain_xlm.errors import ModelRunError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.loading import LoadedModel
from langchain_xlm.runtime.batching import Unit
from langchain_xlm.text.segments import Segment

# Budgets of one batch, rows times longest source, in tokens. On a CPU more rows cost less each, on
# torch and on CTranslate2 alike, but little less beyond this, and short requests wait for them.
_BATCH_TOKENS_CPU = 2_048
_BATCH_TOKENS_GPU = 8_192


@dataclass(frozen=True, slots=True)
class GenerationRequest:
    """Some texts to send through the model.

    Attributes:
        texts: The texts, checked.
        directions: The languages of each text.
        settings: How to decode.
        packed: Whether neighbouring sentences are joined while they fit the window.
    """

    texts: tuple[str, ...]
    directions: tuple[Direction, ...]
    settings: GenerationSettings
    packed: bool


@dataclass(frozen=True, slots=True)
class _Row:
    """A piece on its way.

    Attributes:
        index: The place of its text.
        segment: The piece.
        ids: Its tokens; none: taken over.
        source: What its translation is led back to; None for not.
    """

    index: int
    segment: Segment
    ids: list[int]
    source: Source | None = None


@dataclass(frozen=True, slots=True)
class WrittenRow:
    """What became of one piece.

    Attributes:
        index: Place of its text in the request.
        segment: The piece.
        text: What was written for it.
        flags: Keys of `FLAGS` of `engines.generator`.
    """

    index: int
    segment: Segment
    text: str
    flags: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class _Attempt:
    """One output for one row: the text, its flags, and how bad it is.

    Attributes:
        text: What was written.
        flags: What it says of the output itself.
        repetition: Share of it that is repetition, 1 for an output without any text.
    """

    text: str
    flags: tuple[str, ...]
    repetition: float

    @property
    def fault(self) -> str | None:
        if not self.text:
            return "empty"
        return "repetition" if self.repetition else None


class GeneratorSession:
    """A sequence-to-sequence model in memory; lives on its worker's thread."""

    def __init__(self, spec: LoadSpec) -> None:
        """Load the model and its tokenizer.

        Args:
            spec: What to load and how.
        """
        opened = open_model(spec)
        self._loaded = opened.loaded
        self._tokenizer = opened.loaded.tokenizer
        self._defaults = opened.defaults
        self._writer = opened.writer
        self.memory_bytes = opened.writer.memory_bytes
        self._wording = Wording(opened.loaded)
        ends = self._defaults.eos_token_id
        self._ends = frozenset(ends if isinstance(ends, list) else [ends])
        self._decoder_window = decoder_window(opened.loaded)
        self.max_batch_tokens = _batch_tokens(opened)
        self.batch_multiple = 1
        self.info = _describe(opened)
        self._reranker = Reranker(
            self.info,
            self._defaults,
            writer=self._writer,
            wording=self._wording,
            decoder_window=self._decoder_window,
        )

    def prepare(self, request: GenerationRequest) -> Iterator[list[Unit[_Row]]]:
        """Cut the texts into pieces that fit and tokenize them, some at a time.

        Args:
            request: What to generate.

        Yields:
            Rows in the order of the texts and their pieces.
        """
        for index, (text, direction) in enumerate(
            zip(request.texts, request.directions, strict=True)
        ):
            target_id = self._target_id(direction)
            reverse = self._reranker.reverse(direction, request.settings)

            def count(parts: Sequence[str], direction: Direction = direction) -> list[int]:
                return [len(ids) for ids in self._wording.encode(parts, direction)]

            pieces = cut_pieces(
                text,
                direction.source or "en",
                limit=self.info.window,
                count=count,
                packed=request.packed,
            )
            for segments in pieces:
                worded = [not is_wordless(segment.text) for segment in segments]
                texts = [s.text for s, words in zip(segments, worded, strict=True) if words]
                encoded = iter(self._wording.encode(texts, direction))
                rows = (next(encoded) if words else None for words in worded)
                yield [
                    self._unit(index, segment, ids, target_id, reverse, request.settings)
                    for segment, ids in zip(segments, rows, strict=True)
                ]

    def run(self, units: Sequence[Unit[_Row]]) -> list[WrittenRow]:
        """Generate for one batch; what loops is generated again with other settings.

        Args:
            units: Rows with one plan.

        Returns:
            What was written for each row.
        """
        rows = [unit.payload for unit in units]
        plan = units[0].group
        if not isinstance(plan, Plan):
            return [
                WrittenRow(row.index, row.segment, row.segment.text, ("copied",)) for row in rows
            ]
        return [
            WrittenRow(row.index, row.segment, attempt.text, attempt.flags)
            for row, attempt in zip(rows, self._attempts(rows, plan), strict=True)
        ]

    def rest(self) -> None:
        """Let go of the threads that would slow other models."""
        from langchain_xlm.engines.lanes import give_way

        give_way()

    def close(self) -> None:
        """Let go of the model."""
        del self._loaded, self._tokenizer, self._wording, self._writer, self._reranker

    def _target_id(self, direction: Direction) -> int | None:
        if not direction.forced or direction.target_token is None:
            return None
        return self._wording.token_id(direction.target_token)

    def _unit(
        self,
        index: int,
        segment: Segment,
        ids: list[int] | None,
        target_id: int | None,
        reverse: Direction | None,
        settings: GenerationSettings,
    ) -> Unit[_Row]:
        if ids is None:  # nothing to translate
            return Unit(_Row(index, segment, []), 0, None)
        limit = length_limit(len(ids), settings, decoder_window=self._decoder_window)
        source = None if reverse is None else self._reranker.source(ids, reverse)
        return Unit(_Row(index, segment, ids, source), len(ids), Plan(target_id, limit, settings))

    def _attempts(self, rows: Sequence[_Row], plan: Plan) -> list[_Attempt]:
        """Generate for each row, again with other settings where it loops or writes nothing."""
        first = self._generate(rows, plan)
        best = list(first)
        for settings in retries(plan.settings, default_beams=self._defaults.num_beams or 1):
            again = [place for place, attempt in enumerate(best) if attempt.fault]
            if not again:
                break
            others = self._generate(
                [rows[place] for place in again], replace(plan, settings=settings)
            )
            for place, attempt in zip(again, others, strict=True):
                if attempt.repetition < best[place].repetition:
                    best[place] = attempt
        for place, attempt in enumerate(first):
            if attempt.fault:
                flag = best[place].fault or f"{attempt.fault}_retried"
                best[place] = replace(best[place], flags=(flag, *best[place].flags))
        return best

    def _generate(self, rows: Sequence[_Row], plan: Plan) -> list[_Attempt]:
        """Generate once for each row.

        Args:
            rows: Pieces with their tokens.
            plan: What they share.

        Returns:
            One attempt for each row.

        Raises:
            ModelRunError: The model did not begin with the target's language token.
        """
        sources = [row.source for row in rows]
        generated = self._writer.write(
            [row.ids for row in rows],
            plan,
            wordings=self._reranker.wordings(sources, plan.settings),
        )
        if plan.target_id is not None and any(
            written.ids[0] != plan.target_id for row in generated for written in row
        ):
            raise ModelRunError(
                self.info.model,
                "it did not begin with the token of the target language, so the output may be in"
                " any language; its generation settings overrule the forced token",
            )
        attempts = [
            [self._read(row.segment.text, row.ids, written.ids, plan) for written in wordings]
            for row, wordings in zip(rows, generated, strict=True)
        ]
        candidates = [
            [(one, attempt.text) for one, attempt in zip(written, read, strict=True)]
            for written, read in zip(generated, attempts, strict=True)
        ]
        chosen = self._reranker.choose(candidates, sources, plan.settings)
        return [wordings[place] for wordings, place in zip(attempts, chosen, strict=True)]

    def _read(self, source: str, source_ids: list[int], ids: list[int], plan: Plan) -> _Attempt:
        """Turn generated tokens into text and look at how they end."""
        flags = []
        end = next((place for place, token in enumerate(ids) if token in self._ends), None)
        if end is None and len(ids) >= plan.limit:
            flags.append("length_limit")
        if self._tokenizer.unk_token_id in source_ids:
            flags.append("unknown_characters")
        text = self._wording.decode(ids[:end])
        if "\n" not in source:  # the lines of a text are its pieces' gaps, not theirs to break
            text = " ".join(text.splitlines())
        repetition = invented_repetition(source, text) if text else 1.0
        return _Attempt(text, tuple(flags), repetition)


def _batch_tokens(opened: OpenedModel) -> int:
    if isinstance(opened.loaded, LoadedModel) and opened.loaded.device.type != "cpu":
        return _BATCH_TOKENS_GPU
    return _BATCH_TOKENS_CPU


def _describe(opened: OpenedModel) -> ModelInfo:
    loaded = opened.loaded
    return ModelInfo(
        model=loaded.spec.model,
        revision=loaded.revision,
        family=loaded.family,
        languages=loaded.languages,
        window=loaded.window,
        fixed_source=loaded.fixed_source,
        fixed_target=loaded.fixed_target,
        backend=opened.backend,
    )
