"""Attention maps against what the layers of the model do with them."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from langchain_xlm import attention_map
from langchain_xlm.engines.attention import AttentionMap
from langchain_xlm.errors import (
    ConfigurationError,
    InputTooLongError,
    MissingDependencyError,
)
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.loading import load_model
from tests.models.test_loading import TASKS
from tests.tiny import KINDS

Checkpoints = Callable[..., Path]
TEXT = "The weather is nice today."


@pytest.mark.parametrize("kind", [kind for kind in KINDS if TASKS[kind] != "cross-encoder"])
def test_rows_sum_to_one(kind: str, checkpoints: Checkpoints) -> None:
    found = attention_map(TEXT, model=LoadSpec(TASKS[kind], str(checkpoints(kind))), layer=-1)
    assert found.weights.shape == (len(found.queries), len(found.keys))
    assert found.queries == found.keys
    assert len(found.keys) > 3
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-5)
    assert (found.layer, found.head) == (1, 0)


@pytest.mark.parametrize("layer", [0, 1])
@pytest.mark.parametrize("head", [0, 3])
def test_the_product_with_v_is_the_output_of_the_layer(
    layer: int, head: int, checkpoints: Checkpoints
) -> None:
    import torch

    folder = str(checkpoints("xlm-roberta"))
    found = attention_map(TEXT, model=folder, layer=layer, head=head)
    loaded = load_model(LoadSpec("encoder", folder))  # sdpa, which computes no matrix
    attention = loaded.model.encoder.layer[layer].attention
    seen: dict[str, torch.Tensor] = {}
    attention.self.value.register_forward_hook(lambda *a: seen.update(value=a[2]))
    attention.output.dense.register_forward_hook(lambda *a: seen.update(mixed=a[1][0]))
    query = []
    attention.self.query.register_forward_hook(lambda *a: query.append(a[2]))
    attention.self.key.register_forward_hook(lambda *a: query.append(a[2]))
    with torch.inference_mode():
        loaded.model(**loaded.tokenizer(TEXT, return_tensors="pt"))
    own = slice(16 * head, 16 * head + 16)  # 64 wide, 4 heads
    value, mixed = (seen[name][0, :, own].numpy() for name in ("value", "mixed"))
    np.testing.assert_allclose(found.weights @ value, mixed, atol=1e-5)
    # And the matrix is the one of the formula.
    q, k = (each[0, :, own] for each in query)
    wanted = (q @ k.T / 16**0.5).softmax(dim=-1).numpy()
    np.testing.assert_allclose(found.weights, wanted, atol=1e-5)


@pytest.mark.parametrize("kind", ["nllb", "encoder-decoder", "marian", "mt5"])
def test_a_target_looks_at_the_text(kind: str, checkpoints: Checkpoints) -> None:
    found = attention_map(TEXT, model=str(checkpoints(kind)), target="Das Wetter ist schön.")
    assert found.queries != found.keys
    assert found.weights.shape == (len(found.queries), len(found.keys))
    np.testing.assert_allclose(found.weights.sum(axis=1), 1, atol=1e-5)


def test_a_seq2seq_model_without_a_target_shows_its_encoder(checkpoints: Checkpoints) -> None:
    found = attention_map(TEXT, model=str(checkpoints("nllb")), layer=0)
    assert found.queries == found.keys


def test_wrong_places_are_refused(checkpoints: Checkpoints) -> None:
    folder = str(checkpoints("xlm-roberta"))
    with pytest.raises(ConfigurationError, match=r"layer=2 is not there.* has 2, counted from 0"):
        attention_map(TEXT, model=folder, layer=2)
    with pytest.raises(ConfigurationError, match=r"head=-5 is not there.* from 0 to 3"):
        attention_map(TEXT, model=folder, head=-5)
    with pytest.raises(InputTooLongError):
        attention_map(TEXT * 100, model=folder)
    with pytest.raises(ConfigurationError, match="has none"):
        attention_map(TEXT, model=LoadSpec("encoder", folder), target="Wetter")
    with pytest.raises(ConfigurationError, match="cannot read a cross-encoder"):
        attention_map(TEXT, model=LoadSpec("cross-encoder", folder))


def picture(tokens: tuple[str, ...]) -> AttentionMap:
    size = len(tokens)
    weights = np.full((size, size), 1 / size, dtype=np.float32)
    return AttentionMap(tokens, tokens, weights, layer=0, head=0, model="owner/name")


@pytest.mark.parametrize("ending", ["png", "svg"])
def test_the_picture_is_drawn_without_a_warning(ending: str, tmp_path: Path) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"map.{ending}"
    # Turkish, a dollar, a character of Japanese, one that no font will ever have.
    picture(("▁İstanbul", "ğ", "$5$", "▁天気", "\U00030fff", "</s>")).draw(path)
    assert path.stat().st_size > 5000


def test_characters_without_a_font_are_given_by_code_point() -> None:
    pytest.importorskip("matplotlib")
    from langchain_xlm.engines.attention_picture import _fonts_for, _label

    fonts, missing = _fonts_for({"a", "ğ", "İ", "▁", "\U00030fff"})
    assert fonts == ["DejaVu Sans"]
    assert missing == {"\U00030fff"}
    assert _label("▁a\U00030fff", missing) == "_·a·30FFF"
    assert _label("▁değil", missing) == "_değil"


def test_missing_matplotlib_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    with pytest.raises(MissingDependencyError, match=r"pip install 'langchain-xlm\[attention\]'"):
        picture(("a",)).draw(tmp_path / "map.png")
