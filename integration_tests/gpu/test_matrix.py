"""The matrix of `tests/models/test_matrix.py` on a CUDA device, and real sizes.

`python -m pytest integration_tests/gpu -rs`. Not run so far: no device was at hand.
"""

from __future__ import annotations

import gc
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from benchmarks.gpu import BATCH, BEAMS, LENGTH, NEW_TOKENS, SETTINGS, measure
from benchmarks.real_sizes import SIZES, Size, make_checkpoint
from langchain_xlm import (
    XLMEmbeddings,
    XLMTranslationTool,
    plan_memory,
    set_memory_budget,
    unload_models,
)
from langchain_xlm.errors import InsufficientMemoryError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.footprint import expected_bytes, model_bytes
from langchain_xlm.models.loading import load_model
from tests.models.test_loading import SENTENCE, TASKS
from tests.models.test_matrix import BOUNDS, PRECISIONS, WHOLE_ONLY, error_of, split
from tests.tiny import KINDS

Checkpoints = Callable[..., Path]


@pytest.fixture(autouse=True)
def emptied() -> Iterator[None]:
    import torch

    yield
    set_memory_budget(None)
    unload_models()
    gc.collect()
    torch.cuda.empty_cache()


def run_on(loaded: Any) -> Any:
    """As `run` of the tests, with the inputs on the device that the loader names."""
    import torch

    inputs = loaded.tokenizer([SENTENCE, "Wo?"], padding=True, return_tensors="pt")
    given = {name: inputs[name].to(loaded.device) for name in ("input_ids", "attention_mask")}
    if loaded.model.config.is_encoder_decoder:
        given["decoder_input_ids"] = torch.tensor([[2, 5, 6], [2, 7, 8]], device=loaded.device)
    with torch.no_grad():
        return loaded.model(**given)[0].cpu()


def on_cpu(kind: str, folder: Path) -> Any:
    return run_on(load_model(LoadSpec(TASKS[kind], str(folder), device="cpu", dtype="float32")))


@pytest.mark.parametrize("precision", PRECISIONS)
@pytest.mark.parametrize("kind", KINDS)
def test_whole(kind: str, precision: str, checkpoints: Checkpoints) -> None:
    folder = checkpoints(kind)
    spec = LoadSpec(TASKS[kind], str(folder), device="cuda:0", **PRECISIONS[precision])
    loaded = load_model(spec)
    assert loaded.device.type == "cuda"
    # Sums in another order than on the CPU: a few units of the last place.
    assert error_of(run_on(loaded), on_cpu(kind, folder)) <= max(BOUNDS[precision], 1e-4)
    assert expected_bytes(spec) == pytest.approx(model_bytes(loaded.model), rel=0.02)


@pytest.mark.parametrize("rest", ["cpu", "disk"])
@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in WHOLE_ONLY])
def test_split(
    kind: str, precision: str, rest: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = checkpoints(kind)
    places = {name: rest if place == "disk" else 0 for name, place in split(kind, folder).items()}
    loaded = load_model(
        LoadSpec(
            TASKS[kind],
            str(folder),
            device_map=places,
            offload_folder=str(tmp_path),
            **PRECISIONS[precision],
        )
    )
    assert error_of(run_on(loaded), on_cpu(kind, folder)) <= max(BOUNDS[precision], 1e-4)


@pytest.mark.parametrize("kind", WHOLE_ONLY)
def test_families_kept_whole_go_where_there_is_room(kind: str, checkpoints: Checkpoints) -> None:
    def load(**limits: Any) -> Any:
        limits = {int(name[3:]) if name != "cpu" else name: at for name, at in limits.items()}
        return load_model(
            LoadSpec(TASKS[kind], str(checkpoints(kind)), device_map="auto", max_memory=limits)
        )

    assert load(gpu0="1GiB", cpu="1GiB").device.type == "cuda"
    assert load(gpu0="1KiB", cpu="1GiB").device.type == "cpu"
    with pytest.raises(InsufficientMemoryError):
        load(gpu0="1KiB", cpu="1KiB")


@pytest.fixture(scope="module", params=SIZES)
def sized(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[tuple[Size, Path]]:
    """A real size, saved in 16 bits; one after the other, since the largest takes 7 GB of disk."""
    import torch

    folder = tmp_path_factory.mktemp(request.param)
    make_checkpoint(SIZES[request.param], folder, torch.bfloat16)
    yield SIZES[request.param], folder
    shutil.rmtree(folder)


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", PRECISIONS.values(), ids=PRECISIONS)
def test_real_sizes_hold_what_is_expected_and_give_it_back(
    sized: tuple[Size, Path], way: dict[str, str]
) -> None:
    import torch

    size, folder = sized
    before = torch.cuda.memory_allocated()
    options: dict[str, Any] = {"model": str(folder), "device": "cuda:0", **way}
    if size.task == "seq2seq":
        tool = XLMTranslationTool(**options, num_beams=1, max_new_tokens=8)
        tool.invoke({"text": SENTENCE, "target_language": "de", "source_language": "en"})
    else:
        XLMEmbeddings(**options).embed_documents(["some words about the weather"] * 64)
    held = torch.cuda.memory_allocated() - before
    task = "seq2seq" if size.task == "seq2seq" else "encoder"
    spec = LoadSpec(task, str(folder), device="cuda:0", **way)  # type: ignore[arg-type]
    assert expected_bytes(spec) == pytest.approx(held, rel=0.1)
    unload_models()
    assert torch.cuda.memory_allocated() - before < 2**20


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("setting", SETTINGS)
def test_plan_of_real_sizes_is_within_a_tenth_of_what_runs(
    sized: tuple[Size, Path], setting: str
) -> None:
    size, folder = sized
    plan = plan_memory(folder, batch=BATCH, length=LENGTH, new_tokens=NEW_TOKENS, beams=BEAMS)
    planned = next(each for each in plan.settings if each.setting == setting)
    found = measure(folder, size, setting, "cuda:0")
    assert planned.weights.total == pytest.approx(found["held"], rel=0.1)
    assert planned.running_bytes == pytest.approx(found["peak"], rel=0.1)


@pytest.mark.slow
def test_batches_halve_on_a_full_device(tmp_path: Path) -> None:
    import torch

    make_checkpoint(SIZES["xlm-roberta-base"], tmp_path, torch.bfloat16)
    texts = [f"text {number} " + "word " * 300 for number in range(256)]
    model = XLMEmbeddings(model=str(tmp_path), device="cuda:0")
    wanted = torch.tensor(model.embed_documents(texts))
    free, whole = torch.cuda.mem_get_info()
    used = torch.cuda.memory_allocated()
    torch.cuda.empty_cache()
    torch.cuda.set_per_process_memory_fraction((used + 400 * 2**20) / whole)
    try:
        halved = torch.tensor(model.embed_documents(texts))
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert torch.nn.functional.cosine_similarity(wanted, halved).min() > 0.999
    assert free > 0
