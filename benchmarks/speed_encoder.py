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

import numpy as np

from benchmarks.checkpoints import SHAPES, trained_folders, xlm_roberta
from benchmarks.speed_growth import memory, scale
from benchmarks.speed_lengths import batch, lengths
from benchmarks.speed_load import load
from benchmarks.speed_page import write_page
from benchmarks.speed_peak import peak
from benchmarks.speed_peers import OURS, REFERENCE, SYSTEMS, Opened, Vectors
from benchmarks.speed_queries import concurrent, query
from benchmarks.speed_start import start
from benchmarks.speed_texts import mixed_texts, multilingual_texts, token_counts
from benchmarks.speed_timing import Result, both_times, note, spread
from benchmarks.speed_together import together
from benchmarks.speed_workers import workers

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


def paths(given: argparse.Namespace) -> Result:
    """Bulk: English texts of mixed lengths."""
    return bulk(given, {f"{count} texts": mixed_texts(count) for count in given.texts})


def languages(given: argparse.Namespace) -> Result:
    """Bulk: texts of mixed lengths in eight languages."""
    count = max(given.texts)
    return bulk(given, {f"{count} texts in eight languages": multilingual_texts(count)})


def bulk(given: argparse.Namespace, cases: dict[str, list[str]]) -> Result:
    """The same texts through every system, one after the other in each round."""
    results: Result = {"sizes": {}}
    with workers(given.systems, given) as (opened, results["skipped"]):
        for worker in opened.values():
            worker.run(partial(embed, mixed_texts(8, seed=9)))
        for case, texts in cases.items():
            taken: dict[str, list[float]] = {name: [] for name in opened}
            used: dict[str, list[float]] = {name: [] for name in opened}
            vectors: dict[str, Vectors] = {}
            for number in range(given.rounds):
                for name, worker in opened.items():
                    if SYSTEMS[name].slow and number >= given.slow_rounds:
                        continue
                    (clock, processor), vectors[name] = worker.run(partial(embed, texts))
                    taken[name].append(clock)
                    used[name].append(processor)
                note(f"{case}, round {number + 1} of {given.rounds}")
            first = REFERENCE if REFERENCE in opened else next(iter(opened))
            results["sizes"][case] = {
                "tokens": sum(token_counts(given.folder, texts)),
                "systems": {
                    name: spread(taken[name])
                    | {"processor_s": statistics.median(used[name])}
                    | compare(vectors[name], vectors[first])
                    for name in opened
                },
            }
    return results


def embed(texts: list[str], opened: Opened) -> tuple[tuple[float, float], Vectors]:
    return both_times(partial(opened.embed, texts))


def fidelity(given: argparse.Namespace) -> Result:
    """What rounding does to trained weights."""
    from langchain_xlm import XLMEmbeddings, unload_models

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
            found[name] = SYSTEMS[name].build(folder, given.out).embed(texts)
            unload_models()
        # These models are small, where "auto" stays in float32: 16 bits are asked for.
        half = XLMEmbeddings(model=str(folder), device="cpu", dtype="bfloat16")
        found[f"{OURS}, bfloat16"] = np.asarray(half.embed_documents(texts), dtype=np.float32)
        half.unload()
        exact = found.pop(f"{OURS}, float32")
        results[model] = {name: compare(vectors, exact) for name, vectors in found.items()}
    return results


PARTS: dict[str, Callable[[argparse.Namespace], Result]] = {
    "peak": peak,
    "paths": paths,
    "languages": languages,
    "query": query,
    "concurrent": concurrent,
    "load": load,
    "together": together,
    "lengths": lengths,
    "batch": batch,
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
    parser.add_argument("--queries", type=int, default=20, help="of each turn")
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
