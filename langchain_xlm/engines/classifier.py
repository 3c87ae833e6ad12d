"""Texts to label scores; long texts piece by piece, nothing cut off."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_xlm.engines.rows import cut_to_window, pad_rows
from langchain_xlm.errors import IncompatibleModelError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.footprint import model_bytes
from langchain_xlm.runtime.batching import Unit
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.runtime.pool import SharedModel
from langchain_xlm.text.cleaning import check_text
from langchain_xlm.text.segments import Segment

if TYPE_CHECKING:
    import torch

# Labels of models that judge whether one text follows from another: they need two texts.
_ENTAILMENT = {"entailment", "not_entailment", "contradiction"}

# How many texts or pieces are tokenized at a time.
_CHUNK = 64


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
        self._model = SharedModel(spec, ClassifierSession)

    def info(self) -> Flow[ClassifierInfo]:
        """Ask what the checkpoint is, loading it where needed.

        Yields:
            Futures to wait for.

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

        Yields:
            Futures to wait for.

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

    def __init__(self, spec: LoadSpec) -> None:
        """Load the classifier.

        Args:
            spec: What to load and how.

        Raises:
            IncompatibleModelError: It judges pairs of texts.
        """
        from langchain_xlm.engines.states import StateReader, batch_tokens
        from langchain_xlm.models.loading import load_model
        from langchain_xlm.models.onednn import use_onednn

        loaded = load_model(spec)
        use_onednn(loaded)
        self._loaded = loaded
        self.memory_bytes = model_bytes(loaded.model)
        # A head that reads the first token's state can be run apart from the body. BERT's reads
        # a pooler's output, XLM's a summary of its own.
        reads_first = getattr(loaded.model.base_model, "pooler", None) is None
        self._reader = StateReader(loaded) if loaded.family.packs and reads_first else None
        config = loaded.config
        named = {int(index): str(name) for index, name in (config.id2label or {}).items()}
        labels = tuple(named[index] for index in sorted(named))
        _check_labels(labels, model=spec.model)
        self.info = ClassifierInfo(
            labels=labels,
            multi_label=config.problem_type == "multi_label_classification",
            revision=loaded.revision,
        )
        dtype = str(loaded.model.dtype).removeprefix("torch.")
        self.batch_multiple = 1 if self._reader is None else self._reader.lanes
        self.max_batch_tokens = batch_tokens(loaded.device, dtype, lanes=self.batch_multiple)
        self._framing = len(self._tokenize([""])[0])

    def prepare(self, request: Sequence[str]) -> Iterator[list[Unit[_Row]]]:
        """Cut texts into rows that fit into the window, some texts at a time."""
        for start in range(0, len(request), _CHUNK):
            texts = request[start : start + _CHUNK]
            for index, ids in enumerate(self._tokenize(texts), start=start):
                text = request[index]
                if len(ids) <= self._loaded.window:
                    yield [self._unit(index, Segment(text, 0, len(text)), ids)]
                    continue
                pieces = self._cut(text)
                for at in range(0, len(pieces), _CHUNK):
                    some = pieces[at : at + _CHUNK]
                    rows = self._tokenize([piece.text for piece in some])
                    yield [
                        self._unit(index, piece, row) for piece, row in zip(some, rows, strict=True)
                    ]

    def run(self, units: Sequence[Unit[_Row]]) -> list[tuple[int, ScoredPiece]]:
        """Judge rows; each result names the text that its piece belongs to."""
        import torch

        rows = [unit.payload for unit in units]
        with torch.inference_mode():
            logits = self._logits([row.token_ids for row in rows]).float()
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

    def rest(self) -> None:
        """Let go of the threads that would slow other models."""
        from langchain_xlm.engines.lanes import give_way

        if self._reader is None:
            give_way()
        else:
            self._reader.rest()

    def close(self) -> None:
        """Let go of the model."""
        if self._reader is not None:
            self._reader.close()
        del self._loaded, self._reader

    def _logits(self, rows: Sequence[Sequence[int]]) -> torch.Tensor:
        model: Any = self._loaded.model
        if self._reader is not None and self._reader.packed:
            first: torch.Tensor = model.classifier(self._reader.read(rows).first()[:, None])
            return first
        ids, mask = pad_rows(rows, self._loaded.tokenizer.pad_token_id, self._loaded.device)
        padded: torch.Tensor = model(input_ids=ids, attention_mask=mask).logits
        return padded

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:  # which a tokenizer cannot take
            return []
        # A text may hold the spelling of a special token ("</s>"): it is read as text.
        encoded = self._loaded.tokenizer(
            list(texts),
            padding=False,
            truncation=False,
            return_attention_mask=False,
            split_special_tokens=True,
            verbose=False,
        )
        token_ids: list[list[int]] = encoded["input_ids"]
        return token_ids

    def _cut(self, text: str) -> list[Segment]:
        def count(parts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in self._tokenize(parts)]

        return cut_to_window(text, self._loaded.window, count)

    def _unit(self, index: int, piece: Segment, token_ids: list[int]) -> Unit[_Row]:
        tokens = max(0, len(token_ids) - self._framing)
        return Unit(_Row(index, piece, token_ids, tokens), tokens=len(token_ids))


def _check_labels(labels: tuple[str, ...], *, model: str) -> None:
    if _ENTAILMENT & {label.casefold() for label in labels}:
        raise IncompatibleModelError(
            model,
            task="classifier of single texts",
            found=f"it compares two texts ({', '.join(labels)})",
            advice="Give a checkpoint that was trained to name the class of a text.",
        )
