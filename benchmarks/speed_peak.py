"""How near the encoder comes to the practical peak of the machine's matrix products."""

from __future__ import annotations

import argparse
import time
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks.checkpoints import SHAPES
from benchmarks.speed_peers import OURS, Opened
from benchmarks.speed_texts import token_counts
from benchmarks.speed_timing import Result, timed
from benchmarks.speed_workers import PAUSE_S, workers

_TOKENS = 256
# Which peak each system is held against.
_KINDS = {
    f"{OURS}, float32": "float32",
    OURS: "bfloat16",
    f"{OURS}, 8bit": "int8",
    f"{OURS}, 8bit on torch": "int8",
}


def peak(given: argparse.Namespace) -> Result:
    """Peak and systems take turns; the best of each counts."""
    texts = texts_of_equal_length(given.folder, _TOKENS, given.peak_texts)
    flop = SHAPES[given.shape].flop(token_counts(given.folder, texts))
    products = products_by_kind(given.peak_size)
    names = [name for name, kind in _KINDS.items() if kind in products]
    at_peak: dict[str, list[float]] = {kind: [] for kind in products}
    taken: dict[str, list[float]] = {name: [] for name in names}
    with workers(names, given) as (opened, _):
        for worker in opened.values():
            worker.run(partial(embed, texts[:2]))
        for _ in range(given.rounds):
            time.sleep(PAUSE_S)
            for kind, multiply in products.items():
                at_peak[kind] += [timed(multiply) for _ in range(5)]
            for name, worker in opened.items():
                taken[name].append(worker.run(partial(embed, texts)))
    peaks = {kind: 2 * given.peak_size**3 / min(each) for kind, each in at_peak.items()}
    shares = {}
    for name in names:
        speed = flop / min(taken[name])
        shares[name] = {
            "peak": _KINDS[name],
            "flop_per_s": speed,
            "share": speed / peaks[_KINDS[name]],
        }
    return {"peaks": peaks, "shares": shares, "texts": given.peak_texts, "tokens_each": _TOKENS}


def embed(texts: list[str], opened: Opened) -> float:
    return timed(partial(opened.embed, texts))


def products_by_kind(size: int) -> dict[str, Any]:
    """Make a product of square matrices for each kind of numbers that the processor computes.

    A kind that the processor imitates has no peak, and would take minutes. For float32 torch takes
    MKL, which is not the quickest everywhere.
    """
    import torch

    from langchain_xlm.models.processor import computes_bfloat16, integer_product, packs

    left, right = torch.randn(size, size), torch.randn(size, size)
    in_float32 = onednn_product if packs(torch.float32) else torch.matmul
    found = {"float32": partial(in_float32, left, right)}
    if computes_bfloat16():
        found["bfloat16"] = partial(torch.matmul, left.bfloat16(), right.bfloat16())
    if integer_product() == "exact":
        found["int8"] = partial(torch._int_mm, left.to(torch.int8), right.to(torch.int8))
    for multiply in found.values():
        multiply()
    return found


def onednn_product(left: Any, right: Any) -> Any:
    import torch

    return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")


def texts_of_equal_length(folder: Path, tokens: int, count: int) -> list[str]:
    """Make texts of one repeated word with about a number of tokens."""
    words = ["river"] * 600
    (long,) = token_counts(folder, [" ".join(words)], most=None)
    each = (len(words) * (tokens - 2)) // (long - 2)
    return [" ".join(words[:each])] * count
