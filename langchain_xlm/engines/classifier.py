"""Texts to label scores; long texts piece by piece, nothing cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from langchain_xlm.errors import IncompatibleModelError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.batching import Unit
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.runtime.pool import SharedModel
from langchain_xlm.text.cleaning import check_text
from langchain_xlm.text.detection import detect_language
from langchain_xlm.text.segments import Segment, pack, split_sentences, split_to_fit

if TYPE_CHECKING:
    from langchain_xlm.models.loading import LoadedModel

# Labels of models that judge whether one text follows from another: they need two texts.
_ENTAILMENT = {"entailment", "not_entailment", "contradiction"}

_TEXTS_AT_A_TIME = 64


@dataclass(frozen=True, slots=True)
class ClassifierInfo:
    """What a loaded classifier is.

    Attributes:
        labels: The checkpoint's own label names, in the order of its outputs.
        multi_label: Whether each label is judged by itself, so that the scores of a text need
            not sum to 1.
        revision: Commit of the checkpoint on the hub, if it comes from there.
    """

    labels: tuple[str, ...]
    multi_label: bool
    revision: str | None


@dataclass(frozen=True, slots=True)
class ScoredPiece:
    """A stretch of a text that was judged at once.

    Attributes:
        text: The stretch; equal to `source[start:end]`.
        start: Where it begins in the text.
        end: Where it ends.
        tokens: Its length in the model's tokens, without special ones.
        scores: One score within 0 and 1 for each label.
    """

    text: str
    start: int
    end: int
    tokens: int
    scores: dict[str, float]


@dataclass(frozen=True, slots=True)
class ClassifiedText:
    """The judgement of a whole text.

    Attributes:
        scores: The mean of the pieces' scores, weighted by their tokens.
        pieces: One piece for a text that fits into the window, else several, in order.
    """

    scores: dict[str, float]
    pieces: tuple[ScoredPiece, ...]


class Classifier:
    """A sequence classification checkpoint; loads nothing until it is first asked."""

    def __init__(self, spec: LoadSpec) -> None:
        """Make a classifier for a checkpoint.

        Args:
            spec: What to load; its task is `"classifier"`.
        """
        self.spec = spec
        self._model = SharedModel(spec, ClassifierSession.open)

    def info(self) -> Flow[ClassifierInfo]:
        """Ask what the checkpoint is, loading it where needed.

        Returns:
            Its labels and revision.
        """
        future = self._model.call(lambda session: session.info)
        info: ClassifierInfo = yield future
        return info

    def classify(self, texts: Sequence[str]) -> Flow[list[ClassifiedText]]:
        """Judge texts.

        Args:
            texts: Texts of any length, none of them blank.

        Returns:
            One judgement for each text, in order. A text gets the same scores whatever else
            is judged with it.

        Raises:
            InputError: A text is blank, no string, or has a lone surrogate.
        """
        request = [check_text(text) for text in texts]
        rows: list[tuple[int, ScoredPiece]] = yield self._model.submit(request)
        pieces: list[list[ScoredPiece]] = [[] for _ in request]
        for index, piece in rows:
            pieces[index].append(piece)
        return [ClassifiedText(pool_scores(own), tuple(own)) for own in pieces]


def pool_scores(pieces: Sequence[ScoredPiece]) -> dict[str, float]:
    """Average the scores of pieces, weighted by their tokens.

    Args:
        pieces: At least one; all have the same labels.

    Returns:
        One score for each label.
    """
    weights = [max(1, piece.tokens) for piece in pieces]
    total = sum(weights)
    return {
        label: sum(w * piece.scores[label] for w, piece in zip(weights, pieces, strict=True))
        / total
        for label in pieces[0].scores
    }


@dataclass(frozen=True, slots=True)
class _Row:
    index: int
    piece: Segment
    token_ids: list[int]
    tokens: int


class ClassifierSession:
    """A classifier in use, on its worker's thread."""

    def __init__(self, loaded: LoadedModel) -> None:
        """Take over a loaded checkpoint.

        Args:
            loaded: A checkpoint with a sequence classification head.

        Raises:
            IncompatibleModelError: It gives a single number, or judges pairs of texts.
        """
        self._loaded = loaded
        config = loaded.config
        labels = tuple(str(config.id2label[index]) for index in range(config.num_labels))
        _check_labels(labels, model=loaded.spec.model)
        self.info = ClassifierInfo(
            labels=labels,
            multi_label=config.problem_type == "multi_label_classification",
            revision=loaded.revision,
        )
        special = loaded.tokenizer.num_special_tokens_to_add(pair=False)
        self._limit = max(1, loaded.window - special)

    @classmethod
    def open(cls, spec: LoadSpec) -> ClassifierSession:
        """Load a checkpoint and take it over."""
        from langchain_xlm.models.loading import load_model

        return cls(load_model(spec))

    @property
    def max_batch_tokens(self) -> int:
        """Budget of one batch: rows times longest row, in tokens."""
        return 4096 if self._loaded.device.type == "cpu" else 32768

    def prepare(self, request: Sequence[str]) -> Iterator[list[Unit[_Row]]]:
        """Cut texts into rows that fit into the window, some texts at a time."""
        for start in range(0, len(request), _TEXTS_AT_A_TIME):
            texts = request[start : start + _TEXTS_AT_A_TIME]
            counts = self._count(texts)
            pieces: list[tuple[int, Segment]] = []
            for index, (text, tokens) in enumerate(zip(texts, counts, strict=True), start=start):
                if tokens <= self._limit:
                    pieces.append((index, Segment(text, 0, len(text))))
                else:
                    pieces += [(index, piece) for piece in self._cut(text)]
            for at in range(0, len(pieces), _TEXTS_AT_A_TIME):
                yield self._encode(pieces[at : at + _TEXTS_AT_A_TIME])

    def run(self, units: Sequence[Unit[_Row]]) -> list[tuple[int, ScoredPiece]]:
        """Judge rows; each result names the text that its piece belongs to."""
        import torch

        rows = [unit.payload for unit in units]
        batch = self._loaded.tokenizer.pad(
            {"input_ids": [row.token_ids for row in rows]},
            padding=True,
            return_attention_mask=True,
            return_tensors="pt",
        ).to(self._loaded.device)
        with torch.inference_mode():
            logits = self._loaded.model(
                input_ids=batch["input_ids"], attention_mask=batch["attention_mask"]
            ).logits.float()
        scores = logits.sigmoid() if self.info.multi_label else logits.softmax(dim=-1)
        return [
            (
                row.index,
                ScoredPiece(
                    text=row.piece.text,
                    start=row.piece.start,
                    end=row.piece.end,
                    tokens=row.tokens,
                    scores=dict(zip(self.info.labels, values, strict=True)),
                ),
            )
            for row, values in zip(rows, scores.tolist(), strict=True)
        ]

    def close(self) -> None:
        """Let go of the model."""
        del self._loaded

    def _count(self, texts: Sequence[str]) -> list[int]:
        return [len(ids) for ids in self._token_ids(texts, special=False)]

    def _token_ids(self, texts: Sequence[str], *, special: bool) -> list[list[int]]:
        ids: list[list[int]] = self._loaded.tokenizer(
            list(texts), add_special_tokens=special, verbose=False
        )["input_ids"]
        return ids

    def _cut(self, text: str) -> list[Segment]:
        detection = detect_language(text)
        sentences = split_sentences(text, detection.tag if detection else "en")
        fitting = split_to_fit(text, sentences, limit=self._limit, count=self._count)
        return pack(text, fitting, limit=self._limit, count=self._count)

    def _encode(self, pieces: list[tuple[int, Segment]]) -> list[Unit[_Row]]:
        token_ids = self._token_ids([piece.text for _, piece in pieces], special=True)
        special = self._loaded.window - self._limit
        return [
            Unit(_Row(index, piece, ids, max(0, len(ids) - special)), tokens=len(ids))
            for (index, piece), ids in zip(pieces, token_ids, strict=True)
        ]


def _check_labels(labels: tuple[str, ...], *, model: str) -> None:
    advice = "Give a checkpoint that was trained to name the class of a text."
    if len(labels) < 2:
        raise IncompatibleModelError(
            model, task="classifier", found="its head gives a single number", advice=advice
        )
    if _ENTAILMENT & {label.casefold() for label in labels}:
        raise IncompatibleModelError(
            model,
            task="classifier of single texts",
            found=f"it compares two texts ({', '.join(labels)})",
            advice=advice,
        )
