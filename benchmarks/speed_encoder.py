"""How fast texts become vectors, beside what users would pick instead.

    python -m benchmarks.speed encoder --out DIR [--parts NAME ...] [--shape base]
        [--texts 86 512] [--rounds 3] [--slow-rounds 1] [--docs [FOLDER]]

Each part can be run alone; results are merged into `DIR/encoder.json`. `--docs` writes the tables
and charts of the site from it; `--parts` without a name measures nothing anew. Peers that are not
installed are left out, and named.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import statistics
import time
from collections.abc import Callable
from functools import partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks.checkpoints import SHAPES, trained_folders, xlm_roberta
from benchmarks.speed_growth import memory, scale
from benchmarks.speed_load import load
from benchmarks.speed_page import write_page
from benchmarks.speed_peers import (
    OURS,
    REFERENCE,
    SYSTEMS,
    Embed,
    Vectors,
    at_once,
    hugging_face_embeddings,
    loaded,
)
from benchmarks.speed_start import start
from benchmarks.speed_texts import QUERY, mixed_texts
from benchmarks.speed_timing import Result, both_times, note, spread, timed

PACKAGES = (
    "torch", "transformers", "sentence-transformers", "langchain-huggingface", "ctranslate2",
    "onnxruntime", "openvino", "bitsandbytes",
)  # fmt: skip


def nearest_kept(vectors: Vectors, exact: Vectors) -> float:
    """Tell how many texts keep their nearest neighbour, as a share."""
    nearest = []
    for each in (vectors, exact):
        likeness = each @ each.T
        np.fill_diagonal(likeness, -2)
        nearest.append(likeness.argmax(1))
    return float((nearest[0] == nearest[1]).mean())


def compare(vectors: Vectors, exact: Vectors) -> Result:
    cosines = (vectors * exact).sum(1)
    return {"cosine": float(cosines.mean()), "lowest_cosine": float(cosines.min()),
            "nearest_kept": nearest_kept(vectors, exact)}  # fmt: skip


def build_all(given: argparse.Namespace, skipped: Result) -> dict[str, Embed]:
    built: dict[str, Embed] = {}
    for name in given.systems:
        note(f"loading {name}")
        try:
            built[name] = SYSTEMS[name].build(given.folder, given.out)
        except Exception as error:  # a peer that fails is named, the others run
            if name.startswith(OURS):
                raise
            skipped[name] = f"{type(error).__name__}: {error}"
            note(f"left out: {skipped[name]}")
    return built


def paths(given: argparse.Namespace) -> Result:
    """Bulk: the same texts through every system, one after the other in each round."""
    skipped: Result = {}
    built = build_all(given, skipped)
    results: Result = {"skipped": skipped, "sizes": {}}
    for embed in built.values():
        embed(mixed_texts(8, seed=9))
    for count in given.texts:
        texts = mixed_texts(count)
        taken: dict[str, list[float]] = {name: [] for name in built}
        used: dict[str, list[float]] = {name: [] for name in built}
        vectors: dict[str, Vectors] = {}
        for number in range(given.rounds):
            for name, embed in built.items():
                if SYSTEMS[name].slow and number >= given.slow_rounds:
                    continue
                (clock, processor), vectors[name] = both_times(partial(embed, texts))
                taken[name].append(clock)
                used[name].append(processor)
            note(f"{count} texts, round {number + 1} of {given.rounds}")
        first = REFERENCE if REFERENCE in built else next(iter(built))
        results["sizes"][str(count)] = {
            "tokens": int(sum(lengths(given.folder, texts))),
            "systems": {
                name: spread(taken[name])
                | {"processor_s": statistics.median(used[name])}
                | compare(vectors[name], vectors[first])
                for name in built
            },
        }
    return results


def query(given: argparse.Namespace) -> Result:
    """One short query at a time."""
    skipped: Result = {}
    built = build_all(given, skipped)
    for embed in built.values():
        for _ in range(5):
            embed([QUERY])
    taken: dict[str, list[float]] = {name: [] for name in built}
    for _ in range(given.queries):
        for name, embed in built.items():
            taken[name].append(timed(partial(embed, [QUERY])))
    return {"skipped": skipped, "systems": {name: spread(each) for name, each in taken.items()},
            "steps": query_steps(given)}  # fmt: skip


def query_steps(given: argparse.Namespace) -> Result:
    """Where the time of one query goes, in seconds."""
    from langchain_xlm import XLMEmbeddings
    from langchain_xlm.engines.encoder_session import EncodingRequest

    embeddings = XLMEmbeddings(model=str(given.folder), device="cpu")
    embeddings.embed_query(QUERY)
    model = embeddings._encoder._model
    request = EncodingRequest([QUERY], "query", None, None, "pool")

    def median(work: Callable[[Any], object]) -> float:
        def inside(session: Any) -> float:
            return statistics.median(timed(lambda: work(session)) for _ in range(given.queries))

        return model.call(inside).result()

    (units,) = model.call(lambda session: list(session.prepare(request))).result()
    rows = [unit.payload.ids for unit in units]
    return {
        "whole call": statistics.median(
            timed(lambda: embeddings.embed_query(QUERY)) for _ in range(given.queries)
        ),
        "queue and back": statistics.median(
            timed(lambda: model.call(lambda _: None).result()) for _ in range(given.queries)
        ),
        "tokenization": median(lambda session: list(session.prepare(request))),
        "model": median(lambda session: read(session, rows)),
        "model, pooling, numpy": median(lambda session: session.run(units)),
    }


def read(session: Any, rows: list[list[int]]) -> None:
    import torch

    with torch.inference_mode():
        session._reader.read(rows)


def concurrent(given: argparse.Namespace) -> Result:
    """64 calls of aembed_query at once."""
    from langchain_xlm import XLMEmbeddings

    texts = [f"{QUERY} {number}" for number in range(64)]
    results: Result = {"calls": len(texts), "systems": {}}
    systems: dict[str, Any] = {
        OURS: XLMEmbeddings(model=str(given.folder), device="cpu"),
        f"{OURS}, 8bit": XLMEmbeddings(model=str(given.folder), device="cpu", quantization="8bit"),
    }
    try:
        systems[REFERENCE] = hugging_face_embeddings(given.folder)
    except ImportError as error:
        results["skipped"] = {REFERENCE: str(error)}
    for name, embeddings in systems.items():
        embeddings.embed_query(QUERY)
        rounds = [
            timed(partial(at_once, embeddings.aembed_query, texts)) for _ in range(given.rounds)
        ]
        results["systems"][name] = spread(rounds)
        if name.startswith(OURS):
            results["systems"][name]["batches"] = batches_of(embeddings, texts)
    return results


def batches_of(embeddings: Any, texts: list[str]) -> int:
    """Count the batches that simultaneous calls form."""
    model = embeddings._encoder._model
    counted: list[int] = []

    def watch(session: Any) -> Callable[..., Any]:
        run = session.run
        session.run = lambda units: counted.append(len(units)) or run(units)
        return run  # type: ignore[no-any-return]

    model.call(watch).result()
    at_once(embeddings.aembed_query, texts)
    model.call(lambda session: session.__dict__.pop("run")).result()
    return len(counted)


def peak(given: argparse.Namespace) -> Result:
    """The machine's practical peak of matrix products, and our share of it on 256-token texts."""
    import torch

    from langchain_xlm.models.processor import computes_bfloat16, integer_product, packs

    size = given.peak_size
    left, right = torch.randn(size, size), torch.randn(size, size)
    # A kind that the processor imitates has no peak, and would take minutes.
    # For float32 torch takes MKL, which is not the quickest everywhere.
    in_float32 = onednn_product if packs(torch.float32) else torch.matmul
    kinds: dict[str, Any] = {"float32": (torch.float32, in_float32)}
    if computes_bfloat16():
        kinds["bfloat16"] = (torch.bfloat16, torch.matmul)
    if integer_product() == "exact":
        kinds["int8"] = (torch.int8, torch._int_mm)
    names = {
        "float32": [f"{OURS}, float32"],
        "bfloat16": [OURS],
        "int8": [f"{OURS}, 8bit", f"{OURS}, 8bit on torch"],
    }
    peaks = {}
    for kind, (dtype, multiply) in kinds.items():
        sides = left.to(dtype), right.to(dtype)
        multiply(*sides)
        peaks[kind] = 2 * size**3 / min(timed(partial(multiply, *sides)) for _ in range(7))
    text = " ".join(["river"] * 600)
    texts = shortened(given.folder, text, 256, given.peak_texts)
    flop = SHAPES[given.shape].flop(lengths(given.folder, texts))
    shares = {}
    for kind, name in [(each, name) for each in kinds for name in names[each]]:
        with loaded(name, given.folder, given.out) as embed:
            embed(texts[:2])
            speed = flop / min(timed(partial(embed, texts)) for _ in range(given.rounds))
        shares[name] = {"peak": kind, "flop_per_s": speed, "share": speed / peaks[kind]}
    return {"peaks": peaks, "shares": shares, "texts": given.peak_texts, "tokens_each": 256}


def onednn_product(left: Any, right: Any) -> Any:
    import torch

    return torch.ops.mkldnn._linear_pointwise(left, right, None, "none", [], "")


def fidelity(given: argparse.Namespace) -> Result:
    """What rounding does to trained weights."""
    texts = mixed_texts(100, words=25.0, most=120)
    results: Result = {}
    settings = (
        f"{OURS}, float32",
        OURS,
        f"{OURS}, 8bit",
        f"{OURS}, 8bit on torch",
        f"{OURS}, bitsandbytes int8",
    )
    for model, folder in trained_folders(given.out).items():
        found = {}
        for name in settings:
            with loaded(name, folder, given.out) as embed:
                found[name] = embed(texts)
        # These models are small, where "auto" stays in float32: 16 bits are asked for.
        from langchain_xlm import XLMEmbeddings

        half = XLMEmbeddings(model=str(folder), device="cpu", dtype="bfloat16")
        found[f"{OURS}, bfloat16"] = np.asarray(half.embed_documents(texts), dtype=np.float32)
        half.unload()
        exact = found.pop(f"{OURS}, float32")
        results[model] = {name: compare(vectors, exact) for name, vectors in found.items()}
    return results


def lengths(folder: Any, texts: list[str]) -> list[int]:
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    return [min(512, len(ids)) for ids in tokenizer(texts, verbose=False)["input_ids"]]


def shortened(folder: Path, text: str, tokens: int, count: int) -> list[str]:
    """Cut a text of one repeated word to a number of tokens."""
    words = text.split()
    each = (len(words) * (tokens - 2)) // (lengths_of_one(folder, text) - 2)
    return [" ".join(words[:each])] * count


def lengths_of_one(folder: Path, text: str) -> int:
    from transformers import AutoTokenizer

    return len(AutoTokenizer.from_pretrained(folder)(text, verbose=False)["input_ids"])


PARTS: dict[str, Callable[[argparse.Namespace], Result]] = {
    "peak": peak,
    "paths": paths,
    "query": query,
    "concurrent": concurrent,
    "load": load,
    "start": start,
    "fidelity": fidelity,
    "scale": scale,
    "memory": memory,
}


def machine() -> Result:
    import torch

    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = version(package)
        except PackageNotFoundError:
            continue
    return {
        "processor": processor_name(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": versions,
    }


def processor_name() -> str:
    import torch

    capabilities = getattr(torch.cpu, "get_capabilities", dict)()
    units = [name for name in ("avx2", "avx512_bf16", "avx512_vnni", "amx_bf16", "amx_int8")
             if capabilities.get(name)]  # fmt: skip
    return f"{capabilities.get('cpu_name', platform.machine())} ({', '.join(units) or 'plain'})"


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="benchmarks.speed encoder", description=__doc__)
    parser.add_argument("--out", type=Path, required=True, help="folder of results and checkpoints")
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=None)
    parser.add_argument("--shape", choices=SHAPES, default="base")
    parser.add_argument("--texts", nargs="+", type=int, default=[86, 512])
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--slow-rounds", type=int, default=1)
    parser.add_argument("--queries", type=int, default=30)
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=list(SYSTEMS))
    parser.add_argument("--scale", nargs="+", type=int, default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--memory", nargs="+", type=int, default=[100, 1_000, 10_000, 100_000])
    parser.add_argument("--load-queries", type=int, default=200, help="queries at each rate")
    parser.add_argument(
        "--load-rates",
        nargs="+",
        type=float,
        default=[0.25, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 4.0, 6.0, 8.0],
        help="times the queries a second that HuggingFaceEmbeddings answers one by one",
    )
    parser.add_argument("--peak-size", type=int, default=2048)
    parser.add_argument("--peak-texts", type=int, default=24)
    parser.add_argument(
        "--docs",
        nargs="?",
        const="speed",
        metavar="FOLDER",
        help="write tables and charts of the site into docs/figures/FOLDER, one for each machine",
    )
    given = parser.parse_args(arguments)
    given.out = given.out.absolute()
    given.out.mkdir(parents=True, exist_ok=True)
    given.folder = xlm_roberta(given.shape, given.out / f"xlm-roberta-{given.shape}")
    path = given.out / "encoder.json"
    results: Result = json.loads(path.read_text("utf-8")) if path.exists() else {}
    for name in PARTS if given.parts is None else given.parts:
        note(f"part {name}")
        before = time.perf_counter()
        found = PARTS[name](given)
        results[name] = {
            "shape": given.shape,
            "machine": machine(),
            "took_s": round(time.perf_counter() - before, 1),
            "results": found,
        }
        path.write_text(json.dumps(results, indent=1), encoding="utf-8")
    if given.docs:
        write_page(results, given.docs)


if __name__ == "__main__":
    main()
