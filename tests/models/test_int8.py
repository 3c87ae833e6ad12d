"""The package's own integer layers: what they compute, where they are used, what stays exact."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from langchain_xlm.models import placement
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.int8 import Int8Linear, quantize_rows
from langchain_xlm.models.loading import load_model
from langchain_xlm.models.placement import ROWWISE_INT8, quantizer_of, uses_rowwise_int8
from langchain_xlm.models.processor import computes_int8

Checkpoints = Callable[..., Path]
READERS = ["xlm", "xlm-roberta", "xlm-roberta-xl", "xmod", "bert"]

needs_int8 = pytest.mark.skipif(not computes_int8(), reason="this processor has no int8 units")


def spec(folder: Path | str, task: Task = "encoder", **fields: object) -> LoadSpec:
    return LoadSpec(task, model=str(folder), **{"device": "cpu", **fields})  # type: ignore[arg-type]


def test_rows_are_rounded_by_their_own_scale() -> None:
    values = torch.tensor([[1.0, -2.0, 0.5], [1000.0, 1.0, 0.0], [0.0, 0.0, 0.0]])
    rows, scales = quantize_rows(values)
    assert rows.dtype == torch.int8
    assert rows[0].tolist() == [64, -127, 32]
    assert rows[2].tolist() == [0, 0, 0]
    assert ((rows * scales - values).abs() <= scales / 2 + 1e-6).all()


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
    for name, layer in layers.items():
        whole = exact.get_submodule(name)
        steps = (layer.weight * layer.scale[:, None] - whole.weight).abs() / layer.scale[:, None]
        assert steps.max() <= 0.5 + 1e-3
        torch.testing.assert_close(layer.bias, whole.bias)
        states = torch.randn(2, 5, layer.in_features)
        errors = layer(states) - whole(states)
        assert errors.norm() < 0.02 * whole(states).norm()
    assert loaded.get_input_embeddings().weight.dtype == torch.bfloat16


@needs_int8
def test_one_outlier_spoils_its_own_token_only() -> None:
    whole = torch.nn.Linear(16, 8)
    layer = _quantized(whole)
    states = torch.randn(3, 16, generator=torch.Generator().manual_seed(0))
    before = layer(states)
    states = states.clone()
    states[1, 3] = 1e4
    after = layer(states)
    torch.testing.assert_close(after[[0, 2]], before[[0, 2]])
    assert layer(states[:0]).shape == (0, 8)


def _quantized(whole: torch.nn.Linear) -> Int8Linear:
    from langchain_xlm.models.int8 import _LastInput

    layer = Int8Linear(
        whole.in_features,
        whole.out_features,
        bias=True,
        dtype=torch.float32,
        last_input=_LastInput(),
    )
    rows, scales = quantize_rows(whole.weight.detach())
    layer.weight.data, layer.scale = rows, scales[:, 0]
    assert layer.bias is not None
    layer.bias.data = whole.bias.detach()
    return layer.requires_grad_(False)


@needs_int8
def test_a_head_stays_exact(checkpoints: Checkpoints) -> None:
    folder = checkpoints("xlm-roberta-classifier")
    model = load_model(spec(folder, "classifier", quantization="8bit")).model
    assert isinstance(model.classifier.out_proj, torch.nn.Linear)
    assert isinstance(model.roberta.encoder.layer[0].output.dense, Int8Linear)


def test_where_the_layers_are_used(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(placement, "computes_int8", lambda: True)
    assert uses_rowwise_int8(spec("starter", quantization="8bit"), "cpu")
    assert not uses_rowwise_int8(spec("starter", quantization="4bit"), "cpu")
    own = '{"load_in_8bit": true}'
    assert not uses_rowwise_int8(spec("starter", quantization=own), "cpu")
    assert not uses_rowwise_int8(spec("starter", quantization="8bit", device=None), "cuda:0")
    assert not uses_rowwise_int8(spec("starter", "seq2seq", quantization="8bit"), "cpu")
    monkeypatch.setattr(placement, "computes_int8", lambda: False)
    assert not uses_rowwise_int8(spec("starter", quantization="8bit"), "cpu")


@pytest.mark.parametrize(("native", "expected"), [(True, torch.bfloat16), (False, torch.float32)])
def test_auto_is_16_bits_on_a_cpu_where_it_pays(
    native: bool, expected: torch.dtype, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = checkpoints("xlm-roberta")
    monkeypatch.setattr(placement, "computes_bfloat16", lambda: native)
    assert load_model(spec(folder)).model.dtype == torch.float32  # small: nothing to gain
    monkeypatch.setattr(placement, "_BFLOAT16_FROM", 1000)
    assert load_model(spec(folder)).model.dtype == expected
    assert load_model(spec(folder, dtype="float32")).model.dtype == torch.float32
