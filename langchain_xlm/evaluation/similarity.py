"""How near two texts are in meaning, as an encoder sees it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from langchain_xlm.engines.encoder import cosines
from langchain_xlm.retrieval.embeddings import XLMEmbeddings

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["cosine_of_texts"]


def cosine_of_texts(
    left: Sequence[str], right: Sequence[str], *, model: str
) -> NDArray[np.float64]:
    """Compare two lists of texts row by row.

    Args:
        left: Texts in any language that the encoder knows.
        right: As many texts.
        model: Hub id or folder of the encoder, or "starter".

    Returns:
        Cosines, `(texts,)`, float64; NaN where one of the two is blank.
    """
    places: dict[str, int] = {}
    for text in (*left, *right):
        places.setdefault(text, len(places))
    vectors = np.array(XLMEmbeddings(model=model).embed_documents(list(places)), dtype=np.float32)
    rows = [vectors[[places[text] for text in side]] for side in (left, right)]
    result = cosines(rows[0], rows[1]).astype(np.float64)
    blank = [not (one.strip() and other.strip()) for one, other in zip(left, right, strict=True)]
    result[np.array(blank, dtype=bool)] = np.nan
    return result
