from __future__ import annotations

import logging
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_xlm.engines.encoder import Embedded, Encoder, cosines
from langchain_xlm.errors import (
    ConfigurationError,
    IncompatibleModelError,
    InputError,
    InputTooLongError,
)
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import unload_models

TEXTS = [
    "Where is the station?",
    "Der Zug fährt heute nicht.",
    "今天天气很好。",
    "",
    "One. Two! Three? Four; five, six seven eight nine ten.",
    "🙂",
]


@pytest.fixture(scope="module", autouse=True)
def _unload() -> Iterator[None]:
    yield
    unload_models()


def encoder(folder: Path, **fields: Any) -> Encoder:
    return Encoder(LoadSpec(task="encoder", model=str(folder), **fields))


def embed(folder: Path, texts: list[str], **options: Any) -> Embedded:
    return run_flow(encoder(folder).embed(texts, **options), model="tiny")


@pytest.fixture
def folder(checkpoints: Callable[..., Path]) -> Path:
    return checkpoints("sentence-encoder", window=32)


@pytest.mark.parametrize("kind", ["xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "bert"])
def test_a_text_in_a_batch_has_the_vector_that_it_has_alone(
    kind: str, checkpoints: Callable[..., Path]
) -> None:
    folder = checkpoints(kind)
    together = embed(folder, TEXTS).vectors
    for place, text in enumerate(TEXTS):
        alone = embed(folder, [text]).vectors[0]
        # Padding changes the order of float32 sums, no more.
        np.testing.assert_allclose(alone, together[place], atol=2e-5)
    assert together.shape[0] == len(TEXTS)
    assert together.dtype == np.float32
    assert len(np.unique(together.round(4), axis=0)) == len(TEXTS)


def test_order_survives_batching_by_length(folder: Path) -> None:
    texts = [f"{'word ' * (number % 7)}{number}" for number in range(100)]
    together = embed(folder, texts).vectors
    backwards = embed(folder, texts[::-1]).vectors[::-1]
    np.testing.assert_allclose(together, backwards, atol=2e-5)


def test_no_texts_give_no_vectors(folder: Path) -> None:
    assert embed(folder, []).vectors.shape == (0, 32)


def test_a_long_text_is_the_mean_of_its_pieces_weighted_by_tokens(
    checkpoints: Callable[..., Path],
) -> None:
    folder = checkpoints("sentence-encoder", window=32, normalize=False)
    sentences = [f"Sentence number {n} says something about {n * n}." for n in range(12)]
    long = embed(folder, [" ".join(sentences)])
    assert long.pieces[0] > 1
    session = encoder(folder)
    rows = run_flow(_rows(session, " ".join(sentences)), model="tiny")
    assert all(len(ids) <= 32 for ids in rows)
    pieces = [session_text(session, ids) for ids in rows]
    assert " ".join(pieces).replace(" ", "") == "".join(sentences).replace(" ", "")
    parts = embed(folder, pieces)
    weights = np.array(parts.tokens, dtype=np.float32)[:, None]
    expected = (parts.vectors * weights).sum(axis=0) / weights.sum()
    np.testing.assert_allclose(long.vectors[0], expected, atol=1e-5)


def _rows(one: Encoder, text: str) -> Any:
    from langchain_xlm.engines.encoder_session import EncodingRequest

    request = EncodingRequest([text], "document", None, None, "pool")
    return (
        yield one._model.call(
            lambda session: [u.payload.ids for chunk in session.prepare(request) for u in chunk]
        )
    )


def session_text(one: Encoder, ids: list[int]) -> str:
    def decode() -> Any:
        return (
            yield one._model.call(
                lambda session: session._loaded.tokenizer.decode(ids, skip_special_tokens=True)
            )
        )

    text: str = run_flow(decode(), model="tiny")
    return text


def test_pooled_texts_are_reported(folder: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, logger="langchain_xlm"):
        embed(folder, ["short", "long " * 100])
    assert "1 of 2 texts are longer than the window" in caplog.text


def test_texts_inside_the_window_are_not_reported(
    folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING, logger="langchain_xlm.engines"):
        embed(folder, ["short", "shorter"])
    assert not caplog.records


def test_the_end_of_a_long_text_counts_when_pooled_and_not_when_cut(folder: Path) -> None:
    start = "The same beginning of all. " * 10
    texts = [start + "It ends well.", start + "Das Ende ist ganz anders."]
    pooled = embed(folder, texts).vectors
    cut = embed(folder, texts, overflow="truncate").vectors
    assert not np.allclose(pooled[0], pooled[1], atol=1e-3)
    np.testing.assert_allclose(cut[0], cut[1], atol=1e-6)


def test_truncation_is_that_of_sentence_transformers(folder: Path) -> None:
    from sentence_transformers import SentenceTransformer

    text = "A text that goes on and on. " * 20
    theirs = SentenceTransformer(str(folder), device="cpu").encode([text])
    np.testing.assert_allclose(
        embed(folder, [text], overflow="truncate").vectors, theirs, atol=1e-5
    )


def test_an_error_for_a_long_text_names_its_place_and_lengths(folder: Path) -> None:
    with pytest.raises(InputTooLongError, match="Text 1 has") as caught:
        embed(folder, ["short", "long " * 100], overflow="error")
    assert caught.value.limit == 32
    assert caught.value.tokens > 32
    assert caught.value.index == 1


def test_the_prompt_is_repeated_for_every_piece_and_counted(folder: Path) -> None:
    plain = embed(folder, ["word " * 60], prompt="")
    prompted = embed(folder, ["word " * 60], prompt="a rather long prompt: ")
    assert prompted.pieces[0] > plain.pieces[0]
    assert embed(folder, ["x"], prompt="query: ").tokens > embed(folder, ["x"], prompt="").tokens


def test_a_prompt_without_room_for_text_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="leaves no room in the window of 32"):
        embed(folder, ["x"], prompt="much too long " * 20)


@pytest.mark.parametrize("dimensions", [0, -3, 33])
def test_dimensions_out_of_range_are_refused(folder: Path, dimensions: int) -> None:
    with pytest.raises(ConfigurationError, match=f"dimensions={dimensions} is out of range"):
        embed(folder, ["x"], dimensions=dimensions)


def test_fewer_dimensions_are_a_prefix_of_length_one(folder: Path) -> None:
    whole = embed(folder, TEXTS).vectors
    short = embed(folder, TEXTS, dimensions=8).vectors
    assert short.shape == (len(TEXTS), 8)
    np.testing.assert_allclose(np.linalg.norm(short, axis=1), 1, atol=1e-5)
    np.testing.assert_allclose(
        short, whole[:, :8] / np.linalg.norm(whole[:, :8], axis=1, keepdims=True), atol=1e-5
    )


def test_another_pooling_can_be_asked_for(folder: Path, checkpoints: Callable[..., Path]) -> None:
    asked = embed(folder, TEXTS, pooling=("cls",)).vectors
    saved = embed(checkpoints("sentence-encoder", window=32, pooling="cls"), TEXTS).vectors
    np.testing.assert_allclose(asked, saved, atol=1e-6)
    assert not np.allclose(asked, embed(folder, TEXTS).vectors, atol=1e-2)


def test_progress_adds_up_to_the_number_of_texts(folder: Path) -> None:
    seen: list[float] = []
    embed(folder, ["short", "long " * 100, "shorter"], progress=seen.append)
    assert sum(seen) == pytest.approx(3)


def test_a_megabyte_without_a_space_is_embedded_whole(folder: Path) -> None:
    embedded = embed(folder, ["x" * 100_000])
    assert embedded.pieces[0] > 100
    assert np.isfinite(embedded.vectors).all()


@pytest.mark.parametrize("bad", [None, 3, b"bytes", ["nested"]])
def test_what_is_not_text_is_refused_with_its_place(folder: Path, bad: Any) -> None:
    with pytest.raises(InputError, match="text 1"):
        embed(folder, ["fine", bad])


def test_one_string_in_place_of_a_list_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="wrap it in a list"):
        embed(folder, "one string")  # type: ignore[arg-type]


def test_a_lone_surrogate_is_refused(folder: Path) -> None:
    with pytest.raises(InputError, match="surrogate"):
        embed(folder, ["broken \ud800 text"])


def test_a_layer_without_weights_is_refused(
    checkpoints: Callable[..., Path], tmp_path: Path
) -> None:
    import shutil

    folder = shutil.copytree(checkpoints("sentence-encoder", dense_width=8), tmp_path / "copy")
    (folder / "2_Dense" / "model.safetensors").unlink()
    with pytest.raises(IncompatibleModelError, match=r"'2_Dense' has no model\.safetensors"):
        embed(folder, ["x"])


def test_cosines_of_rows() -> None:
    left = np.array([[1, 0], [1, 1], [0, 0]], dtype=np.float32)
    right = np.array([[2, 0], [-1, -1], [1, 0]], dtype=np.float32)
    np.testing.assert_allclose(cosines(left, right), [1, -1, 0], atol=1e-6)
