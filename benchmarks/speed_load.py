"""How long queries take while others arrive: throughput and latency against load."""

from __future__ import annotations

import argparse
import asyncio
import random
import time
from typing import Any

from benchmarks.speed_peers import OURS, REFERENCE, hugging_face_embeddings
from benchmarks.speed_texts import QUERY
from benchmarks.speed_timing import Result, note, timed

# A system that answers this many times later than when it is idle gets no higher load.
_TOO_LATE = 25
_PERCENTILES = (50, 95, 99)


def load(given: argparse.Namespace) -> Result:
    """Queries that arrive at random, at several rates, whether or not earlier ones are answered.

    The rates are multiples of what `HuggingFaceEmbeddings` answers one after the other.
    """
    from langchain_xlm import XLMEmbeddings

    results: Result = {"queries": given.load_queries, "systems": {}}
    folder = str(given.folder)
    systems: dict[str, Any] = {
        OURS: XLMEmbeddings(model=folder, device="cpu"),
        f"{OURS}, 8bit": XLMEmbeddings(model=folder, device="cpu", quantization="8bit"),
    }
    try:
        systems[REFERENCE] = hugging_face_embeddings(given.folder)
    except ImportError as error:
        results["skipped"] = {REFERENCE: str(error)}
    idle = {}
    for name, embeddings in systems.items():
        embeddings.embed_query(QUERY)
        alone = sorted(timed(lambda each=embeddings: each.embed_query(QUERY)) for _ in range(7))
        idle[name] = alone[len(alone) // 2]
        results["systems"][name] = {"idle_ms": 1000 * idle[name], "points": []}
    base = 1 / idle.get(REFERENCE, idle[OURS])
    results["base_per_s"] = base
    open_still = set(systems)
    for times in given.load_rates:
        # The systems take turns, so that what else runs on the machine meets all of them.
        for name in sorted(open_still):
            point = offer(systems[name], times * base, given.load_queries)
            results["systems"][name]["points"].append({"times_base": times} | point)
            note(f"{name}, {point['offered_per_s']:.1f}/s: p95 {point['p95_ms']:.0f} ms")
            if point["p50_ms"] > 1000 * idle[name] * _TOO_LATE:
                open_still.discard(name)
    return results


def offer(embeddings: Any, rate: float, count: int) -> Result:
    """Send queries at a rate, and wait for all answers.

    Args:
        embeddings: Anything with `aembed_query`.
        rate: Queries a second, on average; gaps are exponential.
        count: How many.

    Returns:
        Offered and answered queries a second, and percentiles of the time from when a query
        was due to its answer, in milliseconds.
    """
    chance = random.Random(0)
    due, last = [], 0.0
    for _ in range(count):
        last += chance.expovariate(rate)
        due.append(last)

    async def send() -> tuple[list[float], float]:
        begin = time.perf_counter()

        async def one(number: int, at: float) -> float:
            await asyncio.sleep(max(0.0, begin + at - time.perf_counter()))
            await embeddings.aembed_query(f"{QUERY} {number}")
            return time.perf_counter() - begin - at

        late = await asyncio.gather(*(one(number, at) for number, at in enumerate(due)))
        return late, time.perf_counter() - begin

    late, whole = asyncio.run(send())
    late.sort()
    found = {f"p{p}_ms": 1000 * late[min(count - 1, round(p / 100 * count))] for p in _PERCENTILES}
    return {"offered_per_s": count / due[-1], "answered_per_s": count / whole} | found
