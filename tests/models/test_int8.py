"""The package's own integer layers: what they compute, where they are used, what stays exact."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from langchain_xlm import XLMEmbeddings
from langchain_xlm.errors import IncompatibleModelError
from langchain_xlm.models import dtypes, int8, quantization
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.int8 import (
    Int8Embedding,
    Int8Linear,
    pairwise_scales,
    quantize_rows,
    quantized_linear,
)
from langchain_xlm.models.loading import load_model
from langchain_xlm.models.processor import computes_int8, packs_integers
from langchain_xlm.models.quantization import ROWWISE_INT8, quantizer_of, uses_rowwise_int8

Checkpoints = Callable[..., Path]
READERS = ["xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "bert"]

needs_int8 = pytest.mark.skipif(not computes_int8(), reason="no product of 8-bit integers here")


def spec(folder: Path | str, task: Task = "encoder", **fields: object) -> LoadSpec:
    return LoadSpec(task, model=str(folder), **{"device": "cpu", **fields})  # type: ignore[arg-type]


def test_rows_are_rounded_by_their_own_scale() -> None:
    values = torch.tensor([[1.0, -2.0, 0.5], [1000.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    rows, scales = quantize_rows(values)
    assert rows.dtype == torch.int8
    assert rows[0].tolist() == [64, -127, 32]
    assert rows[2].tolist() == [0, 0, 0]
    assert ((rows * scales - values).abs() <= scales / 2 + 1e-6).all()


def test_a_pair_of_products_stays_within_16_bits() -> None:
    weight = torch.tensor([
        [1.0, 1.0, 0.0, 0.1],  # one sign: both at once would pass the largest sum
        [1.0, -1.0, 0.0, 0.1],  # two signs: they take from each other
        [1.0, 0.0, 1.0, 0.0],  # apart
        [0.0, 0.0, 0.0, 0.0],
    ])  # fmt: skip
    rows, scales = quantize_rows(weight, pairwise_scales(weight))
    assert rows.tolist() == [[85, 85, 0, 9], [127, -127, 0, 13], [127, 0, 127, 0], [0, 0, 0, 0]]
    assert 255 * 85 + 128 * 85 < 2**15 <= 255 * 127 + 128 * 127
    assert ((rows * scales - weight).abs() <= scales / 2 + 1e-6).all()
    assert pairwise_scales(weight[:2, :3]).equal(scales[:2]), "an odd width has its last alone"


@needs_int8
def test_large_neighbours_do_not_end_a_sum() -> None:
    """What a processor without units for integers gets wrong if weights are rounded carelessly."""
    whole = torch.nn.Linear(64, 32)
    with torch.no_grad():
        whole.weight[:, ::2] = whole.weight.abs().amax(1, keepdim=True)
        whole.weight[:, 1::2] = whole.weight.abs().amax(1, keepdim=True)
    states = torch.zeros(4, 64)
    states[:, 8] = 1.0
    torch.testing.assert_close(quantized_linear(whole)(states), whole(states), atol=2e-3, rtol=0.01)


@needs_int8
@pytest.mark.parametrize("kind", READERS)
def test_every_layer_is_the_checkpoint_rounded(kind: str, checkpoints: Checkpoints) -> None:
    folder = checkpoints(kind)
    exact = load_model(spec(folder, dtype="float32")).model
    loaded = load_model(spec(folder, quantization="8bit")).model
    assert quantizer_of(loaded) == ROWWISE_INT8
    layers = {n: layer for n, layer in loaded.named_modules() if isinstance(layer, Int8Linear)}
    plain = [n for n, layer in exact.named_modules() if isinstance(layer, torch.nn.Linear)]
    assert set(layers) == set(plain)
    generator = torch.Generator().manual_seed(0)
    for name, layer in layers.items():
        whole = exact.get_submodule(name)
        weight = layer.weight
        if weight.is_mkldnn:  # packed as `(inputs, outputs)`
            weight = weight.to_dense().t()
        steps = (weight * layer.scale[:, None] - whole.weight).abs() / layer.scale[:, None]
        assert steps.max() <= 0.5 + 1e-3
        torch.testing.assert_close(layer.bias, whole.bias)
        states = torch.randn(2, 200, layer.in_features, generator=generator)
        errors = layer(states) - whole(states)
        assert errors.norm() < 0.03 * whole(states).norm()


@needs_int8
@pytest.mark.parametrize("numbers_at_once", [int8.NUMBERS_AT_ONCE, 1000])
@pytest.mark.parametrize("kind", READERS)
def test_the_vocabulary_is_the_checkpoint_rounded(
    kind: str, numbers_at_once: int, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(int8, "NUMBERS_AT_ONCE", numbers_at_once)  # 1000: in many parts
    folder = checkpoints(kind)
    exact = load_model(spec(folder, dtype="float32")).model
    loaded = load_model(spec(folder, quantization="8bit")).model
    whole, vocabulary = exact.get_input_embeddings(), loaded.get_input_embeddings()
    assert isinstance(vocabulary, Int8Embedding)
    assert vocabulary.weight.dtype == torch.int8
    assert vocabulary.weight.shape == whole.weight.shape
    assert vocabulary.padding_idx == whole.padding_idx is not None
    ids = torch.arange(whole.num_embeddings).view(1, -1)
    rows = vocabulary(ids)
    assert rows.dtype == torch.float32
    step = whole.weight.abs().amax(1) / 127
    assert ((rows - whole(ids))[0].abs().amax(1) <= 0.5005 * step).all()
    assert (rows != whole(ids)).any()
    # Positions and kinds of tokens are few, and stay as they are.
    others = {n: m for n, m in exact.named_modules() if type(m) is torch.nn.Embedding}
    others = {n: m for n, m in others.items() if m is not whole}
    assert others
    for name, module in others.items():
        torch.testing.assert_close(loaded.get_submodule(name).weight, module.weight)


@needs_int8
def test_the_vocabulary_gives_what_the_model_computes_in(checkpoints: Checkpoints) -> None:
    folder = checkpoints("xlm-roberta")
    loaded = load_model(spec(folder, quantization="8bit", dtype="bfloat16")).model
    assert loaded.get_input_embeddings()(torch.tensor([[5, 6]])).dtype == torch.bfloat16


@needs_int8
def test_a_vocabulary_that_is_also_the_output_stays_exact(checkpoints: Checkpoints) -> None:
    from transformers import AutoModelForMaskedLM

    folder = checkpoints("xlm-roberta")
    options = {"quantization_config": quantization._rowwise_int8(None), "dtype": torch.float32}
    model = AutoModelForMaskedLM.from_pretrained(folder, **options)
    vocabulary, output = model.get_input_embeddings(), model.get_output_embeddings()
    assert type(vocabulary) is torch.nn.Embedding
    assert vocabulary.weight.data_ptr() == output.weight.data_ptr()
    exact = load_model(spec(folder, dtype="float32")).model.get_input_embeddings()
    torch.testing.assert_close(vocabulary.weight, exact.weight)
    assert isinstance(model.roberta.encoder.layer[0].output.dense, Int8Linear)


@needs_int8
def test_a_vocabulary_of_another_length_is_refused(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = Path(shutil.copytree(checkpoints("xlm-roberta"), tmp_path / "longer"))
    settings = json.loads((folder / "config.json").read_text())
    settings["vocab_size"] += 1
    (folder / "config.json").write_text(json.dumps(settings))
    with pytest.raises(IncompatibleModelError, match=r"word_embeddings\.\w+ of shape"):
        load_model(spec(folder, quantization="8bit"))


@needs_int8
def test_vectors_of_the_trained_starter_hardly_change() -> None:
    texts = [
        "Where is the station?", "Der Zug nach Bonn fährt um neun.", "Il pleut depuis ce matin.",
        "A train leaves for Bonn at nine.", "¿Dónde está la estación?", "It has rained all day.",
        "今日は天気がいい。", "Bugün hava çok güzel.", "我想喝一杯茶。", "Ik wil graag thee.",
    ]  # fmt: skip
    exact, rounded = (
        torch.nn.functional.normalize(torch.tensor(XLMEmbeddings(**way).embed_documents(texts)))
        for way in ({"dtype": "float32"}, {"quantization": "8bit"})
    )
    assert (exact * rounded).sum(1).mean() > 0.997
    nearest = [(each @ each.T).fill_diagonal_(-2).argmax(1) for each in (exact, rounded)]
    assert nearest[0].equal(nearest[1])


@needs_int8
def test_one_outlier_spoils_its_own_token_only() -> None:
    whole = torch.nn.Linear(16, 8)
    layer = quantized_linear(whole)
    states = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    before = layer(states)
    states = states.clone()
    states[1, 3] = 1e4
    after = layer(states)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert layer(states[:0]).shape == (0, 8)


@needs_int8
def test_a_head_stays_exact(checkpoints: Checkpoints) -> None:
    folder = checkpoints("xlm-roberta-classifier")
    model = load_model(spec(folder, "classifier", quantization="8bit")).model
    assert isinstance(model.classifier.out_proj, torch.nn.Linear)
    assert isinstance(model.roberta.encoder.layer[0].output.dense, Int8Linear)


def test_where_the_layers_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(quantization, "computes_int8", lambda: True)
    assert uses_rowwise_int8(spec("starter", quantization="8bit"), "cpu")
    assert not uses_rowwise_int8(spec("starter", quantization="4bit"), "cpu")
    own = '{"load_in_8bit": true}'
    assert not uses_rowwise_int8(spec("starter", quantization=own), "cpu")
    assert not uses_rowwise_int8(spec("starter", quantization="8bit", device=None), "cuda:0")
    assert not uses_rowwise_int8(spec("starter", "seq2seq", quantization="8bit"), "cpu")
    monkeypatch.setattr(quantization, "computes_int8", lambda: False)
    assert not uses_rowwise_int8(spec("starter", quantization="8bit"), "cpu")


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_16_bits_on_a_cpu_where_it_pays(
    native: bool, expected: torch.dtype, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints("xlm-roberta")
    monkeypatch.setattr(dtypes, "computes_bfloat16", lambda: native)
    assert load_model(spec(folder)).model.dtype == torch.float32  # small: nothing to gain
    monkeypatch.setattr(dtypes, "_BFLOAT16_FROM", 1000)
    assert load_model(spec(folder)).model.dtype == expected
    assert load_model(spec(folder, dtype="float32")).model.dtype == torch.float32


@needs_int8
def test_layers_are_packed_where_onednn_multiplies_them(checkpoints: Checkpoints) -> None:
    model = load_model(spec(checkpoints("xlm-roberta"), quantization="8bit")).model
    layers = [layer for layer in model.modules() if isinstance(layer, Int8Linear)]
    assert layers
    assert {layer.weight.is_mkldnn for layer in layers} == {packs_integers()}
