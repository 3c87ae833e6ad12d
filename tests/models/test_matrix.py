"""Every family in every precision, whole and split with a part on the disk."""

from __future__ import annotations

import functools
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from langchain_xlm.errors import ConfigurationError, InsufficientMemoryError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.loading import LoadedModel, load_model
from langchain_xlm.models.quantization import repacks_weights
from tests.models.test_loading import TASKS, run
from tests.tiny import KINDS

Checkpoints = Callable[..., Path]

WHOLE_ONLY = ("xlm", "xlm-classifier", "xmod", "encoder-decoder", "marian", "marian-pair")
"""Families that transformers does not know where to cut (no `_no_split_modules`), and X-MOD."""

PRECISIONS: dict[str, dict[str, str]] = {
    "fp32": {"dtype": "float32"},
    "bf16": {"dtype": "bfloat16"},
    "8bit": {"quantization": "8bit"},
    "4bit": {"quantization": "4bit"},
}
# Relative error of the output, ‖a − b‖ / ‖b‖, against the whole model in 32 bits.
# bf16: 8 bits of mantissa, 0.4% a step; a forward pass has about 20 rounded steps in a row.
# 8bit: a weight is off by at most 1/254 of its row's largest, and activations alike.
# 4bit: NF4 is off by about 9% of a weight's standard deviation, at each of 12 layers in a row;
# random weights, unlike trained ones, do not even that out: 0.14 (MiniLM) to 0.63 (mBART-50). Two
# outputs that have nothing in common are 1.4 apart. That nothing else is lost is held below.
BOUNDS = {"fp32": 0.0, "bf16": 0.2, "8bit": 0.25, "4bit": 0.75}


def load(folder: Path, kind: str, **options: Any) -> LoadedModel:
    return load_model(LoadSpec(TASKS[kind], str(folder), **options))


@pytest.fixture(scope="module")
def exact(checkpoints: Checkpoints) -> Callable[[str], Any]:
    """The output of the whole model in 32 bits."""

    @functools.cache
    def output(kind: str) -> Any:
        loaded = load(checkpoints(kind), kind, dtype="float32")
        return run(loaded.model, loaded.tokenizer)

    return output


def split(kind: str, folder: Path) -> dict[str, str | int]:
    """A device map with the last layer of each stack on the disk and all else on the CPU."""
    import torch

    places: dict[str, str | int] = {}
    for name, module in load(folder, kind).model.named_modules():
        if any(f"{name}.".startswith(f"{place}.") for place in places):
            continue
        if isinstance(module, torch.nn.ModuleList):
            last = len(module) - 1
            places |= {f"{name}.{n}": "disk" if n == last else "cpu" for n in range(last + 1)}
        elif name and next(module.parameters(recurse=False), None) is not None:
            places[name] = "cpu"
    return places


def error_of(output: Any, exact: Any) -> float:
    assert output.isfinite().all()
    return float((output.float() - exact).norm() / exact.norm())


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_whole(
    kind: str,
    precision: str,
    checkpoints: Checkpoints,
    exact: Callable[[str], Any],
) -> None:
    loaded = load(checkpoints(kind), kind, **PRECISIONS[precision])
    error = error_of(run(loaded.model, loaded.tokenizer), exact(kind))
    assert error <= BOUNDS[precision]
    assert error > 0 or precision == "fp32"


@pytest.mark.parametrize("kind", KINDS)
def test_four_bits_lose_nothing_but_what_the_weights_lose(
    kind: str, checkpoints: Checkpoints
) -> None:
    """The whole model with its weights rounded to NF4 gives the same output."""
    import torch
    from bitsandbytes.functional import dequantize_4bit

    small = load(checkpoints(kind), kind, quantization="4bit")
    rounded = load(checkpoints(kind), kind, dtype="float32")
    layers = 0
    for name, layer in small.model.named_modules():
        if type(layer).__name__ == "Linear4bit":
            # Before it first runs, when some processors bring it into an order of their own.
            weight = dequantize_4bit(layer.weight.data, layer.weight.quant_state)
            rounded.model.get_submodule(name).weight.data = weight.float()
            layers += 1
    assert layers > 0
    same = run(rounded.model, rounded.tokenizer)
    # Processors with AVX512-BF16 multiply 4-bit weights in bfloat16, whatever the model is in.
    is_exact = small.model.dtype == torch.float32 and not repacks_weights()
    # There the scales of the blocks are rounded as well, which a model in bfloat16 has none of.
    bound = 1e-4 if is_exact else 2 * BOUNDS["bf16"]
    assert error_of(run(small.model, small.tokenizer), same) <= bound


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WHOLE_ONLY])
def test_split_with_a_part_on_the_disk(
    kind: str,
    precision: str,
    checkpoints: Checkpoints,
    exact: Callable[[str], Any],
    tmp_path: Path,
) -> None:
    import torch

    options = {**PRECISIONS[precision], "device_map": split(kind, checkpoints(kind))}
    loaded = load(checkpoints(kind), kind, **options, offload_folder=str(tmp_path))
    assert "disk" in loaded.model.hf_device_map.values()
    assert any(weight.is_meta for weight in loaded.model.parameters())
    output = run(loaded.model, loaded.tokenizer)
    assert error_of(output, exact(kind)) <= BOUNDS[precision]
    if precision == "bf16":
        whole = load(checkpoints(kind), kind, **PRECISIONS[precision])
        assert torch.equal(output, run(whole.model, whole.tokenizer))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", WHOLE_ONLY)
def test_split_is_refused_where_nobody_knows_where_to_cut(
    kind: str, precision: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    reason = "cannot be split over devices"
    if "quantization" in PRECISIONS[precision]:
        reason = "llm_int8_enable_fp32_cpu_offload=True"
    with pytest.raises(ConfigurationError, match=reason):
        load(
            checkpoints(kind),
            kind,
            **PRECISIONS[precision],
            device_map=split(kind, checkpoints(kind)),
            offload_folder=str(tmp_path),
        )


@pytest.mark.parametrize("precision", ["8bit", "4bit"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WHOLE_ONLY])
def test_quantized_parts_on_the_disk_are_refused(
    kind: str, precision: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    with pytest.raises(ConfigurationError, match="llm_int8_enable_fp32_cpu_offload=True"):
        load(
            checkpoints(kind),
            kind,
            **PRECISIONS[precision],
            device_map=split(kind, checkpoints(kind)),
            offload_folder=str(tmp_path),
        )


@pytest.mark.parametrize("place", ["", "encoder"])
def test_a_part_beside_its_whole_is_refused(
    place: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    places = {place: "cpu", "encoder.layer.1": "disk"}
    with pytest.raises(ConfigurationError, match="which is a part of it"):
        load(
            checkpoints("xlm-roberta"),
            "xlm-roberta",
            device_map=places,
            offload_folder=str(tmp_path),
        )


@pytest.mark.parametrize("kind", ["nllb", "m2m100"])
def test_shared_weights_may_all_be_on_the_disk(
    kind: str, checkpoints: Checkpoints, exact: Callable[[str], Any], tmp_path: Path
) -> None:
    places: dict[str, str | int] = {"model": "disk", "lm_head": "disk"}
    loaded = load(checkpoints(kind), kind, device_map=places, offload_folder=str(tmp_path))
    assert all(weight.is_meta for weight in loaded.model.parameters())
    assert run(loaded.model, loaded.tokenizer).equal(exact(kind))


def test_shared_weights_partly_on_the_disk_are_refused_before_loading(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    places: dict[str, str | int] = {"model": "disk", "lm_head": "cpu"}
    with pytest.raises(ConfigurationError, match=r"Give 'model\.shared' a place of its own"):
        load(checkpoints("nllb"), "nllb", device_map=places, offload_folder=str(tmp_path))


@pytest.mark.parametrize("kind", WHOLE_ONLY)
def test_limits_hold_for_families_kept_whole(kind: str, checkpoints: Checkpoints) -> None:
    folder = checkpoints(kind)
    assert load(folder, kind, device_map="auto", max_memory={"cpu": "1GiB"}).device.type == "cpu"
    with pytest.raises(InsufficientMemoryError, match="cannot be split over devices") as caught:
        load(folder, kind, device_map="auto", max_memory={"cpu": "1KiB"})
    assert caught.value.free_bytes == 1024
    assert caught.value.needed_bytes is not None
    assert caught.value.needed_bytes > 400_000
