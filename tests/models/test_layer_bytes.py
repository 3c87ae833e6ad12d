"""What is counted for quantized layers, against what torch's profiler sees of real ones."""

from __future__ import annotations

import gc
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from langchain_xlm.models.layer_bytes import kept_bytes, making_bytes, product_bytes
from langchain_xlm.models.quantization import import_bitsandbytes, repacks_weights

KINDS = ("Linear8bitLt", "Linear4bit")
# Scales, and the few bytes of the allocator.
NEAR = 0.03


def highest_bytes(work: Callable[[], Any], path: Path) -> int:
    """The most that is allocated at once beside what there was, as the profiler saw it."""
    from torch.profiler import ProfilerActivity, profile

    gc.collect()  # or what others left is freed in between
    with profile(activities=[ProfilerActivity.CPU], profile_memory=True) as profiler:
        result = work()
    profiler.export_chrome_trace(str(path))
    events = json.loads(path.read_text("utf-8"))["traceEvents"]
    changes = [event for event in events if event.get("name") == "[memory]"]
    sizes = [event["args"]["Bytes"] for event in sorted(changes, key=lambda event: event["ts"])]
    assert result is not None
    held = highest = 0
    for size in sizes:
        held += size
        highest = max(highest, held)
    return highest


def make(kind: str, columns: int, rows: int, dtype: torch.dtype) -> Any:
    """A layer of bitsandbytes with its weight still in full."""
    import_bitsandbytes()
    import bitsandbytes

    if kind == "Linear8bitLt":
        layer = bitsandbytes.nn.Linear8bitLt(
            columns, rows, bias=True, has_fp16_weights=False, threshold=6.0
        )
    else:
        layer = bitsandbytes.nn.Linear4bit(
            columns, rows, bias=True, compute_dtype=dtype, quant_type="nf4"
        )
    layer.requires_grad_(False)
    torch.manual_seed(0)
    layer.weight.data = torch.randn(rows, columns, dtype=dtype) * 0.02
    layer.bias.data = layer.bias.data.to(dtype)
    return layer.eval()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_making(kind: str, dtype: torch.dtype, tmp_path: Path) -> None:
    layer = make(kind, 512, 768, dtype)
    seen = highest_bytes(lambda: layer.weight.to("cpu"), tmp_path / "trace.json")
    assert making_bytes(layer, dtype, "cpu") == pytest.approx(seen, rel=NEAR)
    assert seen > 2 * (kept_bytes(layer) or 0)


@pytest.mark.parametrize(
    ("columns", "rows", "tokens"), [(1024, 1024, 8), (256, 1024, 512), (1024, 256, 512)]
)
@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("kind", KINDS)
def test_product(
    kind: str, dtype: torch.dtype, columns: int, rows: int, tokens: int, tmp_path: Path
) -> None:
    if kind == "Linear4bit" and repacks_weights():
        pytest.skip("this CPU multiplies with weights in an order of their own")
    layer = make(kind, columns, rows, dtype)
    layer.weight = layer.weight.to("cpu")
    states = torch.randn(tokens, columns).to(dtype)
    with torch.inference_mode():
        layer(states)
        seen = highest_bytes(lambda: layer(states), tmp_path / "trace.json")
    counted = product_bytes(layer, tokens, dtype, "cpu", is_first=False)
    assert counted == pytest.approx(seen, rel=NEAR)


def test_other_layers_take_nothing() -> None:
    layer = torch.nn.Linear(8, 8)
    assert kept_bytes(layer) is None
    assert product_bytes(layer, 4, torch.float32, "cpu", is_first=True) == 0
