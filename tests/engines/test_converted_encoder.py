"""Encoders on CTranslate2 must give the vectors that they give on torch."""

from __future__ import annotations

import json
import logging
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from langchain_xlm import XLMEmbeddings
from langchain_xlm.engines.encoder import Embedded, Encoder, cosines
from langchain_xlm.errors import ConfigurationError, MissingDependencyError, ModelLoadError
from langchain_xlm.models import encoder_conversion
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.converted import load_converted_encoder
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import memory_in_use, unload_models

Checkpoints = Callable[..., Path]

TEXTS = [
    "Where is the station?",
    "Der Zug fährt heute nicht.",
    "今天天气很好。",
    "",
    "One. Two! Three? Four; five, six seven eight nine ten. " * 20,
    "🙂",
]
CONVERTIBLE = ["xlm-roberta", "bert"]


@pytest.fixture(autouse=True)
def _unload() -> Iterator[None]:
    yield
    unload_models()


def spec_of(folder: Path | str, backend: str, **fields: Any) -> LoadSpec:
    return LoadSpec("encoder", model=str(folder), backend=backend, **{"device": "cpu", **fields})


def embed(spec: LoadSpec, **options: Any) -> Embedded:
    return run_flow(Encoder(spec).embed(TEXTS, **options), model="tiny")


@pytest.mark.parametrize("kind", CONVERTIBLE)
@pytest.mark.parametrize("pooling", ["mean", "cls", "max", "lasttoken", "weightedmean"])
def test_vectors_are_those_of_torch(kind: str, pooling: Any, checkpoints: Checkpoints) -> None:
    folder = checkpoints(kind)
    ours, exact = (
        embed(spec_of(folder, way, dtype="float32"), pooling=(pooling,))
        for way in ("ctranslate2", "torch")
    )
    np.testing.assert_allclose(ours.vectors, exact.vectors, atol=2e-5)
    assert ours.tokens == exact.tokens
    assert ours.pieces == exact.pieces
    assert max(ours.pieces) > 1, "long text is cut as it is on torch"


def test_recipe_prompts_and_dense_layers_are_followed(checkpoints: Checkpoints) -> None:
    folder = checkpoints("sentence-encoder", prompts={"query": "q: ", "document": "d: "})
    ours = XLMEmbeddings(model=str(folder), backend="ctranslate2")
    exact = XLMEmbeddings(model=str(folder), dtype="float32")
    assert ours.info().recipe == exact.info().recipe
    assert ours.info().window == exact.info().window
    for purpose in ("embed_query", "embed_documents"):
        text: Any = TEXTS[0] if purpose == "embed_query" else TEXTS
        found, wanted = (np.array(getattr(each, purpose)(text)) for each in (ours, exact))
        np.testing.assert_allclose(found, wanted, atol=2e-5)
    assert not np.allclose(ours.embed_query(TEXTS[0]), ours.embed_documents(TEXTS[:1])[0])


@pytest.mark.starter
@pytest.mark.parametrize("backend", ["ctranslate2", "torch"])
def test_8_bits_keep_the_vectors_of_the_trained_starter(backend: str) -> None:
    texts = [
        "Where is the station?", "Der Zug nach Bonn fährt um neun.", "Il pleut depuis ce matin.",
        "A train leaves for Bonn at nine.", "¿Dónde está la estación?", "It has rained all day.",
        "今日は天気がいい。", "Bugün hava çok güzel.", "我想喝一杯茶。", "Ik wil graag thee.",
    ]  # fmt: skip
    exact = np.array(XLMEmbeddings(dtype="float32").embed_documents(texts), dtype=np.float32)
    rounded = XLMEmbeddings(quantization="8bit", backend=backend, device="cpu")
    assert rounded.info().backend == backend
    vectors = np.array(rounded.embed_documents(texts), dtype=np.float32)
    assert 0.997 < cosines(vectors, exact).mean() < 0.99999


@pytest.mark.parametrize(
    ("fields", "backend", "quantizer"),
    [
        ({"quantization": "8bit"}, "ctranslate2", "CTranslate2"),
        ({"quantization": "8bit", "attn_implementation": "eager"}, "torch", None),
        ({"quantization": "8bit", "device": None, "device_map": "auto"}, "torch", None),
        ({}, "torch", None),
    ],
)
def test_auto_takes_it_for_8_bits(
    fields: dict[str, Any], backend: str, quantizer: str | None, checkpoints: Checkpoints
) -> None:
    embeddings = XLMEmbeddings(model=str(checkpoints("bert")), **{"device": "cpu", **fields})
    info = embeddings.info()
    assert info.backend == backend
    if quantizer is not None:
        assert (info.quantizer, info.dtype) == (quantizer, "int8")


@pytest.mark.parametrize("kind", ["xlm", "xlm-roberta-xl", "xmod"])
def test_other_families_stay_on_torch(kind: str, checkpoints: Checkpoints) -> None:
    folder = str(checkpoints(kind))
    embeddings = XLMEmbeddings(model=folder, quantization="8bit", device="cpu")
    assert embeddings.info().backend == "torch"
    with pytest.raises(ConfigurationError, match=f"cannot run .*{kind}.*backend='torch'"):
        XLMEmbeddings(model=folder, backend="ctranslate2").info()


def test_without_the_package(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    folder = str(checkpoints("xlm-roberta"))
    plain = XLMEmbeddings(model=folder, quantization="8bit", device="cpu")
    assert plain.info().backend == "torch"
    with pytest.raises(MissingDependencyError, match=r"pip install 'langchain-xlm\[ctranslate2\]'"):
        XLMEmbeddings(model=folder, backend="ctranslate2").info()


def test_a_copy_is_made_once_and_its_memory_counted(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = checkpoints("xlm-roberta")
    before = {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}
    sizes = {}
    for name, fields in (("exact", {}), ("small", {"quantization": "8bit"})):
        spec = spec_of(folder, "ctranslate2", cache_dir=str(tmp_path), **fields)
        first, second = load_converted_encoder(spec), load_converted_encoder(spec)
        assert first.difference == second.difference < encoder_conversion.BOUNDS[first.weights]
        assert first.spec == spec
        embed(spec)
        assert memory_in_use()[spec] == first.memory_bytes
        sizes[name] = first.memory_bytes
    assert sizes["small"] < 0.4 * sizes["exact"]
    root = tmp_path / "langchain-xlm" / "ctranslate2" / "models"
    assert len([path for path in root.iterdir() if path.is_dir()]) == 2
    assert {path.name: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_a_copy_that_differs_is_refused_and_auto_goes_on(
    checkpoints: Checkpoints,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    caplog: pytest.LogCaptureFixture,
) -> None:
    # As if the converter forgot where RoBERTa's positions begin.
    real = encoder_conversion.write_copy

    def wrong(loaded: Any, folder: Path, **options: Any) -> None:
        positions = loaded.model.embeddings.position_embeddings.weight
        positions.copy_(positions.roll(3, 0))
        real(loaded, folder, **options)

    monkeypatch.setattr(encoder_conversion, "write_copy", wrong)
    fields = {"cache_dir": str(tmp_path), "quantization": "8bit"}
    with pytest.raises(ModelLoadError, match=r"states of tokens by .*backend='torch'"):
        load_converted_encoder(spec_of(checkpoints("xlm-roberta"), "ctranslate2", **fields))
    embeddings = XLMEmbeddings(model=str(checkpoints("xlm-roberta")), device="cpu", **fields)
    with caplog.at_level(logging.WARNING, "langchain_xlm"):
        assert embeddings.info().backend == "torch"
    assert "runs on torch instead" in caplog.text


def test_an_activation_that_it_does_not_know_is_explained(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("xlm-roberta"), tmp_path / "odd"))
    settings = json.loads((folder / "config.json").read_text())
    (folder / "config.json").write_text(json.dumps(settings | {"hidden_act": "mish"}))
    with pytest.raises(ModelLoadError, match=r"CTranslate2 .* could not convert.*mish"):
        load_converted_encoder(spec_of(folder, "ctranslate2"))


def test_fingerprints_tell_the_library(checkpoints: Checkpoints) -> None:
    folder = str(checkpoints("xlm-roberta"))
    small, torch, exact = (
        XLMEmbeddings(model=folder, device="cpu", **fields).fingerprint()
        for fields in (
            {"quantization": "8bit"},
            {"quantization": "8bit", "backend": "torch"},
            {"backend": "ctranslate2"},
        )
    )
    assert len({small, torch, exact, XLMEmbeddings(model=folder, device="cpu").fingerprint()}) == 4
