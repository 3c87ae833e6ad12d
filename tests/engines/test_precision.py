"""What fewer bits do to trained weights: those of the bundled starter."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import numpy as np
import pytest

from langchain_xlm.cli.demo_texts import ARTICLE, OPINIONS
from langchain_xlm.engines.encoder import Encoder, Vectors
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import unload_models

SENTENCES = [*re.split(r"(?<=[.!?])\s+", ARTICLE), *OPINIONS]

pytestmark = pytest.mark.starter


@pytest.fixture(scope="module", autouse=True)
def _unload() -> Iterator[None]:
    yield
    unload_models()


def vectors(**fields: Any) -> Vectors:
    encoder = Encoder(LoadSpec("encoder", device="cpu", **fields))
    return run_flow(encoder.embed(SENTENCES), model="starter").vectors


def nearest(rows: Vectors) -> Any:
    likeness = rows @ rows.T
    np.fill_diagonal(likeness, -2)
    return likeness.argmax(axis=1)


@pytest.mark.parametrize(
    ("fields", "cosine", "kept"),
    [
        ({"dtype": "bfloat16"}, 0.9999, 0.95),
        ({"quantization": "8bit", "backend": "ctranslate2"}, 0.997, 0.88),
        ({"quantization": "8bit", "backend": "torch"}, 0.997, 0.88),
    ],
)
def test_vectors_stay_near_those_of_full_precision(
    fields: dict[str, str], cosine: float, kept: float
) -> None:
    exact, rounded = vectors(dtype="float32"), vectors(**fields)
    assert (exact * rounded).sum(axis=1).mean() >= cosine
    assert (nearest(exact) == nearest(rounded)).mean() >= kept
    assert not np.array_equal(exact, rounded)


def test_the_starter_stays_in_full_precision() -> None:
    np.testing.assert_array_equal(vectors(), vectors(dtype="float32"))
