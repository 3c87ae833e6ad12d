"""What errors say of memory, what models hold, and a real allocation that fails."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import BitsAndBytesConfig

from langchain_xlm.errors import InsufficientMemoryError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.footprint import expected_bytes, model_bytes
from langchain_xlm.models.loading import load_model
from langchain_xlm.models.memory import keep_few_kernels, release_memory, shortage_of
from langchain_xlm.models.processor import packs
from tests.models.test_loading import TASKS
from tests.tiny import KINDS

Checkpoints = Callable[..., Path]

MESSAGES = [
    (
        "CUDA out of memory. Tried to allocate 1.50 GiB. GPU 0 has a total capacity of 7.79 GiB of"
        " which 512.00 MiB is free.",
        "cuda",
        3 * 2**29,
    ),
    (
        "[enforce fail at alloc_cpu.cpp:117] err == 0. DefaultCPUAllocator: can't allocate memory:"
        " you tried to allocate 8388608 bytes. Error code 12 (Cannot allocate memory)",
        "cpu",
        8388608,
    ),
    ("DefaultCPUAllocator: not enough memory: you tried to allocate 1024 bytes.", "cpu", 1024),
    (
        "MPS backend out of memory (MPS allocated: 8.00 GB, max allowed: 9.07 GB). Tried to"
        " allocate 512.00 MB on private pool.",
        "mps",
        2**29,
    ),
    ("XPU out of memory. Tried to allocate 2.00 KiB.", "xpu", 2048),
    ("CUDA error: CUBLAS_STATUS_ALLOC_FAILED when calling `cublasCreate(handle)`", "cuda", None),
    ("CUDA failed with error out of memory", "cuda", None),
    ("could not create a primitive", "cpu", None),
    ("could not create a memory object", "cpu", None),
]


@pytest.mark.parametrize(("message", "device", "needed"), MESSAGES)
def test_errors_of_every_allocator_are_known(message: str, device: str, needed: int | None) -> None:
    shortage = shortage_of(RuntimeError(message))
    assert shortage is not None
    assert (shortage.device, shortage.needed_bytes) == (device, needed)


def test_other_errors_are_none() -> None:
    import torch

    assert shortage_of(RuntimeError("mat1 and mat2 shapes cannot be multiplied")) is None
    unknown = "could not create a primitive descriptor for the matmul primitive"
    assert shortage_of(RuntimeError(unknown)) is None
    assert shortage_of(ValueError("out of memory")) is None
    assert shortage_of(MemoryError()) is not None
    assert shortage_of(torch.OutOfMemoryError("Tried to allocate 1 KiB")) is not None
    wrapped = ValueError("could not be read")
    wrapped.__cause__ = MemoryError()
    assert shortage_of(wrapped) is not None


def test_a_real_allocation_that_fails_is_known() -> None:
    import torch

    with pytest.raises(RuntimeError) as caught:
        torch.empty(2**60, dtype=torch.uint8)
    shortage = shortage_of(caught.value)
    assert shortage is not None
    assert shortage.needed_bytes == 2**60
    assert shortage.free_bytes is not None
    assert shortage.free_bytes > 2**20


@pytest.mark.parametrize("figures", [{}, {"needed_bytes": 2**30}, {"free_bytes": 2**20}])
def test_the_error_survives_pickling(figures: dict[str, int]) -> None:
    for running in (True, False):
        error = InsufficientMemoryError("owner/name", while_running=running, **figures)
        again = pickle.loads(pickle.dumps(error))
        assert str(again) == str(error)
        assert again.needed_bytes == figures.get("needed_bytes")


WAYS: list[dict[str, Any]] = [
    {},
    {"dtype": "bfloat16"},
    {"dtype": "float16"},
    {"quantization": "8bit"},
    {"quantization": "4bit"},
]


# float16 is refused for mT5, whose numbers pass its largest.
CASES = [
    pytest.param(kind, way, id=f"{kind}-{'-'.join(way.values()) or 'plain'}")
    for kind in KINDS
    for way in WAYS
    if (kind, way.get("dtype")) != ("mt5", "float16")
]


@pytest.mark.parametrize(("kind", "way"), CASES)
def test_expected_bytes_are_those_loaded(
    kind: str, way: dict[str, Any], checkpoints: Checkpoints
) -> None:
    spec = LoadSpec(TASKS[kind], str(checkpoints(kind)), **way)
    held = model_bytes(load_model(spec).model)
    assert held > 50_000
    assert expected_bytes(spec) == pytest.approx(held, rel=0.02)


def test_expected_bytes_of_a_checkpoint_saved_quantized(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    way = BitsAndBytesConfig(load_in_8bit=True)
    small = load_model(LoadSpec("encoder", str(checkpoints("xlm-roberta")), quantization=way))
    small.model.save_pretrained(tmp_path)
    small.tokenizer.save_pretrained(tmp_path)
    spec = LoadSpec("encoder", str(tmp_path))
    assert expected_bytes(spec) == pytest.approx(model_bytes(small.model), rel=0.02)


def test_what_lies_on_the_disk_holds_nothing(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = str(checkpoints("xlm-roberta"))
    whole = model_bytes(load_model(LoadSpec("encoder", folder)).model)
    split = load_model(
        LoadSpec(
            "encoder",
            folder,
            device_map={"embeddings": "cpu", "encoder": "disk"},
            offload_folder=str(tmp_path),
        )
    )
    assert model_bytes(split.model) < whole / 2


def test_releasing_twice_harms_nothing() -> None:
    release_memory()
    release_memory()


SHORT = """
import gc, json, resource, sys
from pathlib import Path
import torch
from transformers import XLMRobertaConfig, XLMRobertaModel
from langchain_xlm.engines.encoder import Encoder
from langchain_xlm.errors import InsufficientMemoryError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import _pool
from tests.tiny_tokenizers import xlm_roberta_tokenizer

folder = Path(sys.argv[1])
size = xlm_roberta_tokenizer(folder, window=512)
torch.manual_seed(0)
# Narrow, but with a wide inner layer: 256 KiB for each token.
XLMRobertaModel(
    XLMRobertaConfig(vocab_size=size, hidden_size=32, num_hidden_layers=1, num_attention_heads=2,
                     intermediate_size=2**16, max_position_embeddings=514, pad_token_id=1,
                     initializer_range=0.3), add_pooling_layer=False,
).save_pretrained(folder)
encoder = Encoder(LoadSpec("encoder", str(folder)))
texts = [f"Text {number} about the weather of today" for number in range(24)]
rows = []

def embed(texts):
    return run_flow(encoder.embed(texts, progress=lambda n: rows.append(n)), model="x").vectors

def limit(mebibytes):
    gc.collect()
    lines = Path("/proc/self/status").read_text().splitlines()
    now = next(int(line.split()[1]) * 1024 for line in lines if line.startswith("VmSize"))
    resource.setrlimit(resource.RLIMIT_AS, (now + mebibytes * 2**20, resource.RLIM_INFINITY))

def unlimited():
    resource.setrlimit(resource.RLIMIT_AS, (resource.RLIM_INFINITY,) * 2)

wanted = embed(texts)
free, rows = list(rows), []
limit(int(sys.argv[2]))
halved = embed(texts)
short, rows = list(rows), []
after = embed(texts)
again = list(rows)
(worker,) = _pool.workers.values()
kept = worker._runner._fitting_tokens
limit(2)
refused = {}
try:
    embed([" ".join(texts[:20])])
except InsufficientMemoryError as error:
    refused = {"message": str(error), "needed": error.needed_bytes, "free": error.free_bytes}
unlimited()
last = embed(texts[:2])
print(json.dumps({
    "difference": float(max(abs(wanted - halved).max(), abs(wanted - after).max())),
    "last": float(abs(last - wanted[:2]).max()),
    "free": free, "short": short, "again": again, "refused": refused, "kept": kept,
}))
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="limits the address space")
def test_batches_halve_where_memory_is_short(tmp_path: Path) -> None:
    program = [sys.executable, "-c", SHORT, str(tmp_path), "120"]
    ran = subprocess.run(program, capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    import json

    told = json.loads(ran.stdout.splitlines()[-1])
    # Without a limit few batches, with one more and smaller ones, the same results.
    assert sum(told["free"]) == sum(told["short"]) == sum(told["again"]) == 24
    assert max(told["short"]) < max(told["free"])
    assert told["difference"] < 1e-5
    # The size was remembered, so that nothing had to fail again.
    assert max(told["again"]) <= max(told["short"])
    assert told["kept"] is not None
    # One text that does not fit fails alone, with figures, and the model goes on.
    assert "ran out of memory: one text alone needs" in told["refused"]["message"]
    assert told["refused"]["needed"] > 2**20
    assert told["refused"]["free"] is not None
    assert told["last"] < 1e-5


LENGTHS = """
import sys
from pathlib import Path
from langchain_xlm import XLMEmbeddings

def held():
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("RssAnon"))

embeddings = XLMEmbeddings(model=sys.argv[1], device="cpu", dtype="float32")
embeddings.embed_query("a")
before = held()
for words in range(2, 122):  # below the window
    embeddings.embed_query("a " * words)
print(held() - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_texts_of_many_lengths_leave_few_kernels(checkpoints: Checkpoints) -> None:
    if not packs(torch.float32):
        pytest.skip("products are not oneDNN's here")
    folder = checkpoints("xlm-roberta")

    def grown(**set_by_the_user: str) -> float:
        names = ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "LRU_CACHE_CAPACITY")
        clean = {name: value for name, value in os.environ.items() if name not in names}
        ran = subprocess.run(
            [sys.executable, "-c", LENGTHS, str(folder)],
            capture_output=True, text=True, check=False, env=clean | set_by_the_user,
        )  # fmt: skip
        assert ran.returncode == 0, ran.stderr
        return float(ran.stdout)

    many = grown(ONEDNN_PRIMITIVE_CACHE_CAPACITY="1024", LRU_CACHE_CAPACITY="1024")
    assert grown() < many / 2


def test_what_somebody_has_set_stays(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ONEDNN_PRIMITIVE_CACHE_CAPACITY", "DNNL_PRIMITIVE_CACHE_CAPACITY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("LRU_CACHE_CAPACITY", "77")
    keep_few_kernels()
    assert os.environ["LRU_CACHE_CAPACITY"] == "77"
    assert os.environ.pop("ONEDNN_PRIMITIVE_CACHE_CAPACITY") == "128"
    monkeypatch.setenv("DNNL_PRIMITIVE_CACHE_CAPACITY", "55")
    keep_few_kernels()
    assert "ONEDNN_PRIMITIVE_CACHE_CAPACITY" not in os.environ
