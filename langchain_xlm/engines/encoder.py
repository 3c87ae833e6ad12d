"""Texts to vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from langchain_xlm.engines.encoder_session import (
    EncoderInfo,
    EncoderSession,
    EncodingRequest,
    EncodingRow,
    Overflow,
    Vectors,
)
from langchain_xlm.engines.recipe import PoolingMode, Purpose
from langchain_xlm.errors import ConfigurationError, InputError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.runtime.pool import SharedModel
from langchain_xlm.text.cleaning import check_text

__all__ = ["Embedded", "Encoder", "EncoderInfo", "Overflow", "Vectors", "cosines"]

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of some texts.

    Attributes:
        vectors: `(texts, width)`, float32; rows of length 1 where the recipe normalizes.
        tokens: Length of each text in tokens, special tokens and prompts included.
        pieces: How many pieces each text was cut into; 1 inside the window.
    """

    vectors: Vectors
    tokens: tuple[int, ...]
    pieces: tuple[int, ...]


class Encoder:
    """An encoder that is loaded on first use and shared by equal specifications."""

    def __init__(self, spec: LoadSpec) -> None:
        """Describe an encoder; nothing is loaded yet.

        Args:
            spec: What to load and how; its task must be "encoder".
        """
        self.spec = spec
        self._model = SharedModel(spec, EncoderSession)
        self._info: EncoderInfo | None = None

    def info(self) -> Flow[EncoderInfo]:
        """Return what the encoder is, loading it first where needed.

        Yields:
            The futures that it waits for.

        Returns:
            What the encoder is.
        """
        if self._info is None:
            self._info = yield self._model.call(lambda session: session.info)
        return self._info

    def embed(
        self,
        texts: Sequence[str],
        *,
        purpose: Purpose = "document",
        prompt: str | None = None,
        pooling: tuple[PoolingMode, ...] | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        overflow: Overflow = "pool",
        progress: Callable[[float], None] | None = None,
    ) -> Flow[Embedded]:
        """Turn texts into vectors.

        Args:
            texts: The texts; blank ones are allowed.
            purpose: Which of the checkpoint's prompts goes in front.
            prompt: A prompt to use instead; "" uses none.
            pooling: Ways of pooling to use instead of the checkpoint's.
            normalize: Whether to scale vectors to length 1; None does as the checkpoint says.
            dimensions: Keep this many leading values and scale to length 1 again; for
                checkpoints trained so that a prefix is a vector too (Kusupati et al. 2022,
                https://arxiv.org/abs/2205.13147).
            overflow: What to do with a text longer than the window: average its pieces'
                vectors weighted by their tokens, cut it, or raise.
            progress: Called on the model's thread with the number of texts finished since the
                last call.

        Yields:
            The futures that it waits for.

        Returns:
            Vectors, lengths and pieces, in the order of the texts.

        Raises:
            ConfigurationError: More dimensions were asked for than the vectors have.
            InputTooLongError: A text exceeds the window and `overflow` is "error".
            InputError: A text is not a string or cannot be encoded, or the prompt alone fills
                the window.
        """
        if isinstance(texts, str):
            raise InputError("Texts must be a list of strings, not one string: wrap it in a list.")
        checked = [
            check_text(text, what=f"text {index}", allow_blank=True)
            for index, text in enumerate(texts)
        ]
        info: EncoderInfo = yield from self.info()
        if dimensions is not None and not 0 < dimensions <= info.width:
            raise ConfigurationError(
                f"dimensions={dimensions} is out of range: the vectors of {self.spec.model!r} "
                f"have {info.width}; give a number from 1 to {info.width}, or None."
            )
        request = EncodingRequest(checked, purpose, prompt, pooling, overflow)
        parts: list[tuple[EncodingRow, Vectors]] = yield self._model.submit(
            request,
            progress=None
            if progress is None
            else lambda units: progress(sum(unit.payload.share for unit in units)),
        )
        return _assemble(
            parts,
            count=len(checked),
            width=len(parts[0][1]) if parts else info.width,
            normalize=info.recipe.normalize if normalize is None else normalize,
            dimensions=dimensions,
        )


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """Return the cosine of each row of one matrix with the same row of the other.

    Args:
        left: `(rows, width)`, float32.
        right: `(rows, width)`, float32.

    Returns:
        `(rows,)`, float32, from -1 to 1; 0 where a row is all zeros.
    """
    product = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    dots = np.einsum("ij,ij->i", left, right)
    result: Vectors = np.clip(dots / np.where(product > 0, product, 1), -1, 1).astype(np.float32)
    return result


def _assemble(
    parts: Sequence[tuple[EncodingRow, Vectors]],
    *,
    count: int,
    width: int,
    normalize: bool,
    dimensions: int | None,
) -> Embedded:
    """Average the pieces of each text, weighted by their tokens, and finish the vectors."""
    sums = np.zeros((count, width), dtype=np.float32)
    tokens = [0] * count
    pieces = [0] * count
    for row, vector in parts:
        # The one piece of a text within the window passes through unchanged.
        sums[row.index] += vector if row.share == 1 else vector * len(row.ids)
        tokens[row.index] += len(row.ids)
        pieces[row.index] += 1
    many = np.array(pieces) > 1
    sums[many] /= np.array(tokens, dtype=np.float32)[many, None]
    if dimensions is not None:
        sums = sums[:, :dimensions]
    if normalize or dimensions is not None:
        sums = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    if many.any():
        logger.warning(
            "%d of %d texts are longer than the window: each is the mean of its pieces, %d in all.",
            many.sum(),
            count,
            int(np.array(pieces)[many].sum()),
        )
    return Embedded(sums, tuple(tokens), tuple(pieces))
