"""Packed batches against the padded path of stock transformers, for everything that can pack."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_args

import numpy as np
import pytest
import torch

from langchain_xlm.engines.classifier import Classifier
from langchain_xlm.engines.encoder import Embedded, Encoder
from langchain_xlm.engines.packing import ATTENTION, Packing, pack, packed_attention
from langchain_xlm.engines.recipe import PoolingMode
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import unload_models

Checkpoints = Callable[..., Path]

TEXTS = [
    "Where is the station?",
    "Der Zug fährt heute nicht.",
    "今天天气很好。",
    "",
    "One. Two! Three? Four; five, six seven eight nine ten.",
    "Where is the station!",
    "🙂",
    "It spells <pad> out, and <pad> again.",
]
PACKING = ["xlm-roberta", "xlm-roberta-xl", "xmod", "bert"]


@pytest.fixture(scope="module", autouse=True)
def _unload() -> Iterator[None]:
    yield
    unload_models()


def embed(folder: Path, texts: list[str], attention: str | None, **options: Any) -> Embedded:
    spec = LoadSpec(task="encoder", model=str(folder), device="cpu", attn_implementation=attention)
    return run_flow(Encoder(spec).embed(texts, **options), model="tiny")


def assert_equal_to_padded(folder: Path, texts: list[str], **options: Any) -> None:
    packed, padded = (embed(folder, texts, how, **options) for how in (None, "sdpa"))
    np.testing.assert_allclose(packed.vectors, padded.vectors, atol=1e-5)
    assert packed.tokens == padded.tokens
    assert packed.pieces == padded.pieces


def is_packed(folder: Path, attention: str | None = None) -> bool:
    spec = LoadSpec(task="encoder", model=str(folder), device="cpu", attn_implementation=attention)
    packed: bool = run_flow(_ask(Encoder(spec)), model="tiny")
    return packed


def _ask(encoder: Encoder) -> Any:
    return (yield encoder._model.call(lambda session: session._reader.packed))


@pytest.mark.parametrize("kind", PACKING)
def test_packed_vectors_equal_the_padded_ones(kind: str, checkpoints: Checkpoints) -> None:
    folder = checkpoints(kind)
    assert is_packed(folder)
    assert not is_packed(folder, "sdpa")
    assert_equal_to_padded(folder, TEXTS)
    assert_equal_to_padded(folder, TEXTS[:1])
    assert_equal_to_padded(folder, ["Many words of text. " * 100, *TEXTS])


@pytest.mark.parametrize("prompt", ["", "query: "])
@pytest.mark.parametrize("include_prompt", [True, False])
@pytest.mark.parametrize("mode", get_args(PoolingMode))
def test_every_pooling_is_that_of_the_padded_path(
    mode: PoolingMode, include_prompt: bool, prompt: str, checkpoints: Checkpoints
) -> None:
    folder = checkpoints("sentence-encoder", include_prompt=include_prompt, normalize=False)
    assert_equal_to_padded(folder, TEXTS, pooling=(mode,), prompt=prompt)


def test_dense_layers_and_several_poolings(checkpoints: Checkpoints) -> None:
    folder = checkpoints("sentence-encoder", pooling=("cls", "mean"), dense_width=8)
    assert_equal_to_padded(folder, TEXTS)


@pytest.mark.parametrize("overflow", ["pool", "truncate"])
def test_texts_beyond_the_window(overflow: str, checkpoints: Checkpoints) -> None:
    folder = checkpoints("sentence-encoder", window=32)
    texts = ["A sentence that goes on and on. " * 20, *TEXTS]
    assert_equal_to_padded(folder, texts, overflow=overflow)


def test_more_tokens_than_the_model_has_positions(checkpoints: Checkpoints) -> None:
    # BERT takes its token types from a table as long as the window.
    for kind in PACKING:
        assert_equal_to_padded(checkpoints(kind, window=16), TEXTS * 20)


def test_what_cannot_pack_is_padded(checkpoints: Checkpoints) -> None:
    assert not is_packed(checkpoints("xlm"))
    assert not is_packed(checkpoints("xlm-roberta"), "eager")


def test_quantized_and_half_precision_models_pack(checkpoints: Checkpoints) -> None:
    folder = checkpoints("xlm-roberta")
    for fields in ({"dtype": "bfloat16"}, {"quantization": "4bit"}):
        both = [
            run_flow(
                Encoder(
                    LoadSpec(
                        task="encoder",
                        model=str(folder),
                        device="cpu",
                        attn_implementation=how,
                        **fields,
                    )
                ).embed(TEXTS),
                model="tiny",
            ).vectors
            for how in (None, "sdpa")
        ]
        cosines = (both[0] * both[1]).sum(1) / np.linalg.norm(both, axis=2).prod(axis=0)
        assert cosines.min() > 0.999


def test_a_classifier_packs_to_the_same_scores(checkpoints: Checkpoints) -> None:
    folder = checkpoints("xlm-roberta-classifier")
    packed, padded = (
        run_flow(
            Classifier(
                LoadSpec("classifier", model=str(folder), device="cpu", attn_implementation=how)
            ).classify([*filter(None, TEXTS), "Long text. " * 200]),
            model="tiny",
        )
        for how in (None, "sdpa")
    )
    for ours, theirs in zip(packed, padded, strict=True):
        assert ours.scores == pytest.approx(theirs.scores, abs=1e-5)


def test_texts_lie_by_length_and_are_found_again() -> None:
    rows = [[5, 6, 7], [8], [9, 10, 11], [12, 13]]
    row = pack(rows, torch.device("cpu"), padding_id=1)
    ids = row.ids[0].tolist()
    assert [ids[first:end] for first, end in zip(row.starts, row.ends, strict=True)] == rows
    assert row.packing.runs == ((0, 1, 1), (1, 1, 2), (3, 2, 3))
    assert row.packing.longest == 3
    assert row.positions[0].tolist() == [2, 2, 3, 2, 3, 4, 2, 3, 4]
    assert row.packing.bounds(torch.device("cpu")).tolist() == [0, 1, 3, 6, 9]
    assert pack(rows, torch.device("cpu"), padding_id=None).positions.max() == 2


def test_no_text_attends_to_its_neighbour() -> None:
    generator = torch.Generator().manual_seed(0)
    query, key, value = (torch.randn(1, 2, 7, 4, generator=generator) for _ in range(3))
    packing = Packing(((0, 2, 2), (4, 1, 3)))
    layer = torch.nn.Identity()
    attended, _ = packed_attention(layer, query, key, value, None, packing=packing)
    for first, end in ((0, 2), (2, 4), (4, 7)):
        scores = (query[..., first:end, :] @ key[..., first:end, :].mT / 4**0.5).softmax(-1)
        alone = (scores @ value[..., first:end, :]).transpose(1, 2)
        torch.testing.assert_close(attended[:, first:end], alone)


@pytest.mark.parametrize("scaling", [None, 0.3])
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_attention_in_16_bits_gives_what_32_do(dtype: torch.dtype, scaling: float | None) -> None:
    """A text longer than those whose scores are kept as a matrix is among them."""
    generator = torch.Generator().manual_seed(2)
    runs = ((0, 2, 40), (80, 1, 1100))
    states = [torch.randn(1, 2, 1180, 16, generator=generator).to(dtype) for _ in range(3)]
    found, exact = (
        packed_attention(torch.nn.Identity(), *each, None, packing=packing, scaling=scaling)[0]
        for each, packing in (
            (states, Packing(runs, in_bfloat16=True)),
            ([state.float() for state in states], Packing(runs)),
        )
    )
    assert found.dtype == dtype
    assert (found.float() - exact).norm() / exact.norm() < 0.02


def test_the_attention_is_the_registered_one(checkpoints: Checkpoints) -> None:
    def name(session: Any) -> str:
        return str(session._loaded.config._attn_implementation)

    def ask(encoder: Encoder) -> Any:
        return (yield encoder._model.call(name))

    spec = LoadSpec(task="encoder", model=str(checkpoints("xlm-roberta")), device="cpu")
    assert run_flow(ask(Encoder(spec)), model="tiny") == ATTENTION
