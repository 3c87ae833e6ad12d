"""The memory plan against what is then loaded."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import BitsAndBytesConfig

from langchain_xlm import plan_memory
from langchain_xlm.errors import ConfigurationError, ModelLoadError, ModelNotFoundError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.converted import is_better_converted
from langchain_xlm.models.headers import read_headers
from langchain_xlm.models.loading import load_model
from langchain_xlm.models.processor import computes_int8
from tests.models.test_loading import TASKS
from tests.tiny import KINDS

Checkpoints = Callable[..., Path]
SETTINGS: dict[str, dict[str, str]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "8bit": {"quantization": "8bit"},
    "4bit": {"quantization": "4bit"},
}


def held_bytes(model: Any) -> int:
    """Every storage of a loaded model once, and the scales of its quantized layers."""
    tensors = [*model.parameters(), *model.buffers()]
    for layer in model.modules():
        if type(layer).__name__ == "Linear4bit":
            state = layer.weight.quant_state
            tensors += [state.absmax, state.code, state.state2.absmax, state.state2.code]
            tensors.append(state.offset)
        elif type(layer).__name__ == "Linear8bitLt":
            tensors.append(layer.weight.SCB)
    packed = {id(each): each.numel() for each in tensors if each.is_mkldnn}  # int8
    plain = {each.data_ptr(): each.nbytes for each in tensors if not each.is_mkldnn}
    return sum(packed.values()) + sum(plain.values())


@pytest.mark.parametrize("kind", KINDS)
def test_weights_are_those_that_are_loaded_to_the_byte(kind: str, checkpoints: Checkpoints) -> None:
    plan = plan_memory(checkpoints(kind), length=16)
    assert plan.task == TASKS[kind]
    assert [each.setting for each in plan.settings] == list(SETTINGS)
    for each in plan.settings:
        loaded = load_model(LoadSpec(plan.task, plan.model, **SETTINGS[each.setting]))
        assert each.weights.total == held_bytes(loaded.model), each.setting
        assert each.peak_bytes > each.weights.total
        assert (each.cache_bytes > 0) == (plan.task == "seq2seq")
    exact = plan.settings[0]
    assert 0 < exact.weights.vocabulary < exact.weights.total


@pytest.mark.skipif(not computes_int8(), reason="no product of 8-bit integers here")
def test_own_8_bits_take_the_vocabulary_and_load_in_parts(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    import torch
    from transformers import XLMRobertaModel

    folder = checkpoints("xlm-roberta")
    exact, _, small, four = plan_memory(folder, length=16).settings
    rows, width = XLMRobertaModel.from_pretrained(folder).get_input_embeddings().weight.shape
    assert exact.weights.vocabulary == four.weights.vocabulary == 4 * rows * width
    assert small.weights.vocabulary == rows * width + 4 * rows  # one scale a row
    # Two parts in float32 are on their way; the largest weight here is one part, and read first.
    on_their_way = 2 * 4 * rows * width
    assert on_their_way + rows * width <= small.loading_bytes
    assert small.loading_bytes <= small.weights.total + on_their_way

    half = XLMRobertaModel.from_pretrained(folder, dtype=torch.float16)
    half.save_pretrained(tmp_path)
    (tmp_path / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    again = plan_memory(tmp_path, length=16).settings[2]
    assert again.weights == small.weights
    # The vocabulary is first made float32 as a whole.
    whole = small.weights.vocabulary + 3 * 4 * rows * width
    assert again.loading_bytes >= max(whole, small.loading_bytes)


def test_plan_tells_the_backend(checkpoints: Checkpoints) -> None:
    pytest.importorskip("ctranslate2")
    folder = checkpoints("nllb")
    plan = plan_memory(folder, length=16, batch=1)
    taken = {each.setting: each.backend for each in plan.settings}
    for setting, backend in taken.items():
        spec = LoadSpec("seq2seq", str(folder), **SETTINGS[setting])
        assert (backend == "ctranslate2") == is_better_converted(spec)
    assert taken["float32"] == taken["8bit"] == "ctranslate2"
    assert taken["bfloat16"] == taken["4bit"] == "torch"
    exact = plan.settings[0]
    assert exact.converting_bytes > 2 * exact.weights.total
    assert any("runs float32 and 8bit with CTranslate2" in note for note in plan.notes)
    on_gpu = plan_memory(folder, length=16, gpus=["8GiB"])
    assert {each.backend for each in on_gpu.settings} == {"torch"}
    # What reads texts is converted for 8 bits alone.
    reading = plan_memory(checkpoints("xlm-roberta"), length=16)
    assert {each.setting for each in reading.settings if each.backend == "ctranslate2"} == {"8bit"}


@pytest.mark.parametrize("native", [True, False])
def test_bfloat16_comes_last_where_the_processor_imitates_it(
    native: bool, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_xlm.models import plan as module
    from langchain_xlm.models.machine import Device

    folder = checkpoints("bert")
    monkeypatch.setattr(module, "computes_bfloat16", lambda: native)

    def recommended(free: int) -> str | None:
        tight = Device("cpu", "x86_64", 2**40, free)
        monkeypatch.setattr(module, "find_devices", lambda: (tight,))
        return plan_memory(folder, length=16, batch=1).recommended

    exact, half, *_ = plan_memory(folder, length=16, batch=1).settings
    assert recommended(2 * exact.peak_bytes) == "float32"
    # Room for 16 bits, and for what is quantized as far as it is not larger.
    between = (half.peak_bytes + exact.peak_bytes) / 2
    assert (recommended(int(between / 0.9)) == "bfloat16") == native


def test_nothing_is_read_but_config_and_headers(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    from transformers import PreTrainedModel

    def refuse(*args: object, **options: object) -> None:
        raise AssertionError("weights were loaded")

    monkeypatch.setattr(PreTrainedModel, "from_pretrained", classmethod(refuse))
    plan = plan_memory(checkpoints("xlm-roberta"))
    size = (Path(plan.model) / "model.safetensors").stat().st_size
    assert 0 < size - plan.download_bytes < 10_000  # the header
    assert plan.saved_dtype == "F32"


def test_more_texts_need_more_and_longer_ones_too(checkpoints: Checkpoints) -> None:
    folder = checkpoints("nllb")

    def peak(**options: int) -> tuple[int, int]:
        setting = plan_memory(folder, **{"batch": 2, "length": 32, "beams": 1, **options}).settings[
            0
        ]
        return setting.activations_bytes, setting.cache_bytes

    least = peak()
    assert all(each > before for each, before in zip(peak(batch=8), least, strict=True))
    assert peak(new_tokens=64)[1] > least[1]
    # Keys and values of two layers, 64 wide, in float32, for what is read and what is written.
    layer_token = 2 * 64 * 4
    assert least[1] == 2 * 2 * layer_token * (32 + 32) + 2 * layer_token * 32
    assert peak(beams=4)[1] == 4 * least[1]


def test_stated_gpu_decides_where_it_goes(checkpoints: Checkpoints) -> None:
    folder = checkpoints("xlm-roberta")
    weights = plan_memory(folder).settings[0].weights.total
    roomy = plan_memory(folder, gpus=["8GiB"])
    assert roomy.recommended == "bfloat16"
    assert roomy.settings[0].placement.device_map == {"": "cuda:0"}
    assert {each.rest_dtype for each in roomy.settings[1:]} == {"bfloat16"}
    tight = plan_memory(folder, gpus=[weights // 2, "8GiB"])
    places = tight.settings[0].placement.device_map
    assert places is not None
    assert not tight.settings[0].fits[0].fits
    assert tight.settings[0].fits[1].fits
    assert set(places.values()) <= {0, 1}
    assert 1 in places.values()
    whole = plan_memory(checkpoints("xlm"), gpus=[weights // 4])
    assert whole.settings[0].placement.device_map == {"": "cpu"}
    assert "device='cpu'" in whole.settings[0].placement.summary


def test_quantized_model_is_not_spread_to_the_processor(checkpoints: Checkpoints) -> None:
    plan = plan_memory(checkpoints("nllb"), gpus=["300KiB"], length=16, batch=1)
    by_name = {each.setting: each.placement for each in plan.settings}
    assert "cpu" in (by_name["float32"].device_map or {}).values()
    assert by_name["8bit"].device_map is None
    assert "cannot go to the cpu" in by_name["8bit"].summary


def test_note_says_where_quantization_does_not_pay(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    import shutil

    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    folder = Path(shutil.copytree(checkpoints("xlm-roberta"), tmp_path / "wide"))
    config = XLMRobertaConfig.from_pretrained(folder)
    config.vocab_size = 20_000
    torch.manual_seed(0)
    XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    notes = plan_memory(folder, length=16, gpus=["8GiB"]).notes
    assert any(
        "8bit takes only" in note and "vocabulary's vectors are 94%" in note for note in notes
    )
    here = plan_memory(folder, length=16).notes
    assert any(note.startswith("bfloat16 is smaller than") and "4bit here" in note for note in here)


def test_checkpoint_saved_quantized_has_one_setting(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    ways = {"8bit": BitsAndBytesConfig(load_in_8bit=True), "4bit": "4bit"}
    for bits, way in ways.items():
        folder = tmp_path / bits
        small = load_model(LoadSpec("encoder", str(checkpoints("xlm-roberta")), quantization=way))
        small.model.save_pretrained(folder)
        small.tokenizer.save_pretrained(folder)
        plan = plan_memory(folder)
        assert [each.setting for each in plan.settings] == ["as saved"]
        again = load_model(LoadSpec("encoder", str(folder))).model
        assert plan.settings[0].weights.quantized > 0
        assert plan.settings[0].weights.total == held_bytes(again)


def test_plan_is_json(checkpoints: Checkpoints) -> None:
    plan = plan_memory(checkpoints("mt5"), gpus=["1GiB"])
    written = json.loads(json.dumps(plan.to_dict()))
    first = written["settings"][0]
    assert first["peak_bytes"] == plan.settings[0].peak_bytes
    assert first["weights"]["total"] == plan.settings[0].weights.total
    assert written["devices"][0]["is_here"] is False
    assert "wo" in first["left_out"] or any(
        name.endswith(".wo") for name in written["settings"][2]["left_out"]
    )


def test_headers_of_parts_are_read_together(checkpoints: Checkpoints, tmp_path: Path) -> None:
    from transformers import XLMRobertaModel

    whole = checkpoints("xlm-roberta")
    model = XLMRobertaModel.from_pretrained(whole, add_pooling_layer=False)
    model.save_pretrained(tmp_path, max_shard_size="100KB")
    assert len(list(tmp_path.glob("*.safetensors"))) > 1
    one, many = (read_headers(LoadSpec("encoder", str(each))) for each in (whole, tmp_path))
    assert one.tensors == many.tensors
    next(tmp_path.glob("*-00002-of-*")).unlink()
    with pytest.raises(ModelLoadError, match="not in the folder"):
        read_headers(LoadSpec("encoder", str(tmp_path)))


def test_what_cannot_be_planned_is_named(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = checkpoints("xlm-roberta")
    with pytest.raises(ConfigurationError, match="gpus has 'lots'"):
        plan_memory(folder, gpus=["lots"])
    with pytest.raises(ConfigurationError, match="without memory"):
        plan_memory(folder, gpus=[0])
    with pytest.raises(ConfigurationError, match="batch=0"):
        plan_memory(folder, batch=0)
    with pytest.raises(ConfigurationError, match=r"window of .* 128 tokens"):
        plan_memory(folder, length=129)
    with pytest.raises(ModelNotFoundError, match="no folder"):
        plan_memory(tmp_path / "missing")
    with pytest.raises(ModelNotFoundError, match="HF_HUB_OFFLINE"):
        plan_memory("owner/name")
    (tmp_path / "config.json").write_text((folder / "config.json").read_text())
    (tmp_path / "pytorch_model.bin").write_bytes(os.urandom(8))
    with pytest.raises(ModelLoadError, match=r"pytorch_model\.bin"):
        plan_memory(tmp_path)
    (tmp_path / "model.safetensors").write_bytes(os.urandom(64))
    with pytest.raises(ModelLoadError, match="damaged"):
        plan_memory(tmp_path)
