"""Short queries: one at a time, and many at once."""

from __future__ import annotations

import argparse
import asyncio
import statistics
from collections.abc import Callable
from functools import partial
from typing import Any

from benchmarks.speed_peers import OURS, REFERENCE, Opened
from benchmarks.speed_texts import QUERY
from benchmarks.speed_timing import Result, spread, timed
from benchmarks.speed_workers import Worker, workers

_AT_ONCE = 64


def query(given: argparse.Namespace) -> Result:
    """One short query at a time; the systems take turns, several queries each."""
    with workers(given.systems, given) as (opened, skipped):
        taken: dict[str, list[float]] = {name: [] for name in opened}
        for _ in range(given.rounds):
            for name, worker in opened.items():
                taken[name] += worker.run(partial(one_by_one, given.queries))
        results: Result = {"skipped": skipped, "systems": {}}
        results["systems"] = {name: spread(each) for name, each in taken.items()}
        ours = opened.get(OURS)
        if ours is not None:
            results["steps"] = ours.run(partial(steps, given.queries))
    return results


def one_by_one(count: int, opened: Opened) -> list[float]:
    """Time queries, after two that are not counted."""
    opened.embed([QUERY])
    opened.embed([QUERY])
    return [timed(lambda: opened.embed([QUERY])) for _ in range(count)]


def steps(count: int, opened: Opened) -> dict[str, float]:
    """Where the time of one query goes, in seconds."""
    from langchain_xlm.engines.encoder_session import EncodingRequest

    embeddings = opened.embeddings
    embeddings.embed_query(QUERY)
    model = embeddings._encoder._model
    request = EncodingRequest([QUERY], "query", None, None, "pool")

    def median(work: Callable[[Any], object]) -> float:
        def inside(session: Any) -> float:
            return statistics.median(timed(lambda: work(session)) for _ in range(count))

        found: float = model.call(inside).result()
        return found

    (units,) = model.call(lambda session: list(session.prepare(request))).result()
    rows = [unit.payload.ids for unit in units]
    return {
        "whole call": statistics.median(
            timed(lambda: embeddings.embed_query(QUERY)) for _ in range(count)
        ),
        "queue and back": statistics.median(
            timed(lambda: model.call(lambda _: None).result()) for _ in range(count)
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
    """Many calls of `aembed_query` at once; the systems take turns."""
    texts = [f"{QUERY} {number}" for number in range(_AT_ONCE)]
    with workers([OURS, f"{OURS}, 8bit", REFERENCE], given) as (opened, skipped):
        results: Result = {"calls": len(texts), "skipped": skipped, "systems": {}}
        taken: dict[str, list[float]] = {name: [] for name in opened}
        for _ in range(max(5, given.rounds)):
            for name, worker in opened.items():
                taken[name].append(worker.run(partial(at_once_timed, texts)))
        for name, worker in opened.items():
            results["systems"][name] = spread(taken[name]) | batches(name, worker, texts)
    return results


def batches(name: str, worker: Worker, texts: list[str]) -> Result:
    return {"batches": worker.run(partial(batches_of, texts))} if name.startswith(OURS) else {}


def at_once_timed(texts: list[str], opened: Opened) -> float:
    opened.embeddings.embed_query(QUERY)
    return timed(partial(at_once, opened.embeddings, texts))


def at_once(embeddings: Any, texts: list[str]) -> None:
    """Send all texts at the same time, each a call of its own, and wait for all answers."""

    async def send() -> None:
        await asyncio.gather(*(embeddings.aembed_query(text) for text in texts))

    asyncio.run(send())


def batches_of(texts: list[str], opened: Opened) -> int:
    """Count the batches that simultaneous calls form."""
    model = opened.embeddings._encoder._model
    counted: list[int] = []

    def watch(session: Any) -> Callable[..., Any]:
        run = session.run
        session.run = lambda units: counted.append(len(units)) or run(units)
        return run  # type: ignore[no-any-return]

    model.call(watch).result()
    at_once(opened.embeddings, texts)
    model.call(lambda session: session.__dict__.pop("run")).result()
    return len(counted)
