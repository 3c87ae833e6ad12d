"""How long queries take while others arrive: throughput and latency against load."""

from __future__ import annotations

import argparse
import asyncio
import random
import statistics
import time
from functools import partial

from benchmarks.speed_peers import OURS, REFERENCE, Opened
from benchmarks.speed_texts import QUERY
from benchmarks.speed_timing import Result, note, timed
from benchmarks.speed_workers import workers

# A system that answers this many times later than when it is idle gets no higher load.
_TOO_LATE = 25
_PERCENTILES = (50, 95, 99)


def load(given: argparse.Namespace) -> Result:
    """Queries that arrive at random, at several rates, whether or not earlier ones are answered.

    The rates are multiples of what `HuggingFaceEmbeddings` answers one after the other.
    """
    results: Result = {"queries": given.load_queries, "systems": {}}
    with workers([OURS, f"{OURS}, 8bit", REFERENCE], given) as (opened, results["skipped"]):
        idle = {}
        for name, worker in opened.items():
            idle[name] = worker.run(idle_time)
            results["systems"][name] = {"idle_ms": 1000 * idle[name], "points": []}
        base = 1 / idle.get(REFERENCE, idle[OURS])
        results["base_per_s"] = base
        open_still = set(opened)
        for times in given.load_rates:
            # The systems take turns, so that what else runs on the machine meets all of them.
            for name in sorted(open_still):
                point = opened[name].run(
                    partial(offer, rate=times * base, count=given.load_queries)
                )
                results["systems"][name]["points"].append({"times_base": times} | point)
                note(f"{name}, {point['offered_per_s']:.1f}/s: p95 {point['p95_ms']:.0f} ms")
                if point["p50_ms"] > 1000 * idle[name] * _TOO_LATE:
                    open_still.discard(name)
    return results


def idle_time(opened: Opened) -> float:
    opened.embeddings.embed_query(QUERY)
    return statistics.median(timed(lambda: opened.embeddings.embed_query(QUERY)) for _ in range(7))


def offer(opened: Opened, rate: float, count: int) -> Result:
    """Send queries at a rate, and wait for all answers.

    Args:
        opened: A system with a LangChain class.
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
            await opened.embeddings.aembed_query(f"{QUERY} {number}")
            return time.perf_counter() - begin - at

        late = await asyncio.gather(*(one(number, at) for number, at in enumerate(due)))
        return late, time.perf_counter() - begin

    late, whole = asyncio.run(send())
    late.sort()
    found = {f"p{p}_ms": 1000 * late[min(count - 1, round(p / 100 * count))] for p in _PERCENTILES}
    return {"offered_per_s": count / due[-1], "answered_per_s": count / whole} | found
