"""Device maps and quantization, run for real on the CPU."""

from __future__ import annotations

import logging
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_xlm.errors import ConfigurationError, MissingDependencyError
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.loading import LoadedModel, load_model
from langchain_xlm.models.processor import integer_product
from tests.models.test_loading import SENTENCE, TASKS, run
from tests.tiny import KINDS

Checkpoints = Callable[..., Path]


def load(folder: Path, task: Task = "encoder", **options: Any) -> LoadedModel:
    return load_model(LoadSpec(task, str(folder), **options))


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.parametrize("kind", KINDS)
def test_quantized_model_is_the_checkpoint_rounded(
    kind: str, bits: str, checkpoints: Checkpoints
) -> None:
    folder = checkpoints(kind)
    exact = load(folder, TASKS[kind])
    small = load(folder, TASKS[kind], quantization=bits)
    weights = exact.model.state_dict()
    rounded = 0
    for name, layer in small.model.named_modules():
        if type(layer).__name__ not in {"Linear8bitLt", "Linear4bit", "Int8Linear"}:
            continue
        wanted = weights[f"{name}.weight"]
        # 8 bits: half a step of 1/127 of the largest weight in the row, and the rounding to
        # float16 before. 4 bits: half the widest gap of NF4, 0.304, of the largest in the block,
        # whose scale is rounded as well. Where products are added in pairs, (255 + 128) times the
        # largest weight stays within 32,575, which makes the steps half as wide again.
        widest = 85 if integer_product() == "pairwise" and is_ours(layer) else 127
        step = 0.5 / widest + 2**-11 if bits == "8bit" else 0.152 * 1.05
        largest = wanted.abs().amax(1, keepdim=True) if bits == "8bit" else wanted.abs().max()
        assert ((dequantized(layer) - wanted).abs() <= step * largest).all(), name
        rounded += 1
    assert rounded
    answer = run(small.model, small.tokenizer)
    assert answer.isfinite().all()
    assert not answer.equal(run(exact.model, exact.tokenizer))


def is_ours(layer: Any) -> bool:
    return type(layer).__name__ == "Int8Linear"


def dequantized(layer: Any) -> Any:
    import torch
    from bitsandbytes.functional import dequantize_4bit

    if type(layer).__name__ == "Linear4bit":
        return dequantize_4bit(layer.weight.data, layer.weight.quant_state).float()
    if is_ours(layer):  # packed weights cannot be looked into, but a single one is exact
        product = layer(torch.eye(layer.in_features))
        return (product - (0 if layer.bias is None else layer.bias)).T
    return layer.weight.data.float() * layer.weight.SCB.unsqueeze(1) / 127


def test_quantization_leaves_the_head_exact(checkpoints: Checkpoints) -> None:
    import torch

    folder = checkpoints("xlm-roberta-classifier")
    for bits in ("8bit", "4bit"):
        model = load(folder, "classifier", quantization=bits).model
        assert type(model.classifier.dense) is torch.nn.Linear
        assert type(model.classifier.out_proj) is torch.nn.Linear
        assert type(model.roberta.encoder.layer[0].output.dense) is not torch.nn.Linear
    generator = load(checkpoints("nllb"), "seq2seq", quantization="4bit").model
    assert type(generator.lm_head) is torch.nn.Linear


def test_layers_that_4_bits_cannot_hold_are_left_out(checkpoints: Checkpoints) -> None:
    import torch
    from bitsandbytes.functional import has_avx512bf16

    if not has_avx512bf16():
        pytest.skip("this CPU runs 4-bit layers of any width")
    model = load(checkpoints("sentence-encoder"), quantization="4bit").model
    layer = model.encoder.layer[0]
    assert type(layer.attention.self.query) is torch.nn.Linear  # 32 wide
    assert type(layer.output.dense) is not torch.nn.Linear  # 128 wide


def test_own_quantization_config_is_used(checkpoints: Checkpoints) -> None:
    import torch
    from transformers import BitsAndBytesConfig

    config = BitsAndBytesConfig(load_in_8bit=True, llm_int8_skip_modules=["encoder.layer.1"])
    layers = load(checkpoints("xlm-roberta"), quantization=config).model.encoder.layer
    assert type(layers[0].output.dense) is not torch.nn.Linear
    assert type(layers[1].output.dense) is torch.nn.Linear


def test_quantization_says_nothing_at_run_time(
    checkpoints: Checkpoints, capfd: pytest.CaptureFixture[str], caplog: pytest.LogCaptureFixture
) -> None:
    loaded = load(checkpoints("xlm-roberta"), quantization="8bit")
    capfd.readouterr()
    run(loaded.model, loaded.tokenizer)
    assert capfd.readouterr() == ("", "")
    assert not caplog.records
    # Only these notes are held back.
    logging.getLogger("bitsandbytes.autograd._functions").warning("something else")
    assert "something else" in caplog.text


def test_checkpoint_saved_quantized_loads_as_it_is(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    import torch
    from transformers import BitsAndBytesConfig

    own = BitsAndBytesConfig(load_in_8bit=True)
    small = load(checkpoints("xlm-roberta"), quantization=own)
    small.model.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    again = load(tmp_path)
    assert torch.equal(run(small.model, small.tokenizer), run(again.model, again.tokenizer))
    with pytest.raises(ConfigurationError, match="quantized already"):
        load(tmp_path, quantization="8bit")


def test_missing_bitsandbytes_is_named(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    import importlib.util

    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "bitsandbytes" else found(name)
    )
    with pytest.raises(MissingDependencyError, match="bitsandbytes"):
        load(checkpoints("xlm-roberta"), quantization="8bit")


NLLB: dict[str, str | int] = {"model.shared": "cpu", "lm_head": "cpu", "model.encoder": "cpu"}
SPLIT: list[tuple[str, dict[str, str | int]]] = [
    ("xlm-roberta", {"embeddings": "cpu", "encoder.layer.0": "cpu", "encoder.layer.1": "disk"}),
    ("xlm-roberta", {"embeddings": "disk", "encoder": "cpu"}),
    (
        "nllb",
        {
            **NLLB,
            "model.decoder.embed_tokens": "cpu",
            "model.decoder.embed_positions": "cpu",
            "model.decoder.layers": "disk",
            "model.decoder.layer_norm": "cpu",
        },
    ),
]


@pytest.mark.parametrize(("kind", "places"), SPLIT)
def test_model_partly_on_disk_equals_the_whole(
    kind: str, places: dict[str, str | int], checkpoints: Checkpoints, tmp_path: Path
) -> None:
    import torch

    whole = load(checkpoints(kind), TASKS[kind])
    split = load(
        checkpoints(kind), TASKS[kind], device_map=places, offload_folder=str(tmp_path / "disk")
    )
    assert "disk" in split.model.hf_device_map.values()
    assert split.device == torch.device("cpu")
    assert torch.equal(run(whole.model, whole.tokenizer), run(split.model, split.tokenizer))


def test_shared_weights_on_the_disk_are_refused(checkpoints: Checkpoints, tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match=r"Give 'model\.decoder\.embed_tokens' a place"):
        load(
            checkpoints("nllb"),
            "seq2seq",
            device_map={**NLLB, "model.decoder": "disk"},
            offload_folder=str(tmp_path),
        )


@pytest.mark.parametrize("kind", ["xlm-roberta", "nllb", "xlm", "marian", "encoder-decoder"])
@pytest.mark.parametrize("strategy", ["auto", "balanced", "balanced_low_0", "sequential"])
def test_strategies_run_without_a_gpu(kind: str, strategy: str, checkpoints: Checkpoints) -> None:
    import torch

    if torch.cuda.is_available():
        pytest.skip("the test of a machine without a GPU")
    whole = load(checkpoints(kind), TASKS[kind])
    placed = load(checkpoints(kind), TASKS[kind], device_map=strategy, max_memory={"cpu": "1GiB"})
    assert placed.device == torch.device("cpu")
    assert torch.equal(run(whole.model, whole.tokenizer), run(placed.model, placed.tokenizer))


@pytest.mark.parametrize("kind", ["xlm", "marian", "encoder-decoder", "xmod"])
def test_families_that_cannot_be_cut_stay_whole(
    kind: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="cannot be split"):
        load(
            checkpoints(kind),
            TASKS[kind],
            device_map={"a": "cpu", "b": "disk"},
            offload_folder=str(tmp_path),
        )
    assert load(checkpoints(kind), TASKS[kind], device_map={"": "cpu"}).device.type == "cpu"


def test_device_that_is_not_here_is_refused_before_the_weights(
    checkpoints: Checkpoints,
) -> None:
    import torch

    absent = next(
        name
        for name, there in (
            ("mps", torch.backends.mps.is_available()),
            ("xpu", torch.xpu.is_available()),
        )
        if not there
    )
    with pytest.raises(ConfigurationError, match=f"'{absent}' is not available"):
        load(checkpoints("xlm-roberta"), device=absent)
    with pytest.raises(ConfigurationError, match=r"not available|counted from 0"):
        load(checkpoints("xlm-roberta"), device="cuda:99")
    with pytest.raises(ConfigurationError, match=r"not available|counted from 0"):
        load(checkpoints("xlm-roberta"), device_map={"": 99})


def test_placement_never_reaches_the_tokenizer(checkpoints: Checkpoints) -> None:
    plain = load(checkpoints("nllb"), "seq2seq")
    placed = load(
        checkpoints("nllb"),
        "seq2seq",
        device_map="auto",
        max_memory={"cpu": "1GiB"},
        quantization="8bit",
        attn_implementation="eager",
    )
    assert placed.tokenizer.init_kwargs.keys() == plain.tokenizer.init_kwargs.keys()
    assert placed.tokenizer(SENTENCE) == plain.tokenizer(SENTENCE)
