"""What a second model in the process costs the first one, though it is idle."""

from __future__ import annotations

import argparse
import statistics
from functools import partial

from benchmarks.speed_peers import OURS, REFERENCE, Opened
from benchmarks.speed_texts import QUERY, mixed_texts
from benchmarks.speed_timing import Result, note, timed
from benchmarks.speed_workers import workers

_TEXTS = 86
_SYSTEMS = [REFERENCE, OURS, f"{OURS}, 8bit", f"{OURS}, 8bit on torch"]
_others: list[object] = []


def together(given: argparse.Namespace) -> Result:
    """Each system alone in its process, then beside the bundled encoder, which has run once."""
    texts = mixed_texts(_TEXTS, seed=5)
    found: Result = {"texts": _TEXTS, "systems": {}}
    with workers(_SYSTEMS, given) as (opened, found["skipped"]):
        for name, worker in opened.items():
            worker.run(partial(both, texts, given.queries))
            found["systems"][name] = {"alone": [], "beside": []}
        for when in ("alone", "beside"):
            for _ in range(given.rounds):
                for name, worker in opened.items():
                    taken = worker.run(partial(both, texts, given.queries))
                    found["systems"][name][when].append(taken)
            if when == "alone":
                for worker in opened.values():
                    worker.run(load_another)
            note(f"measured {when}")
    for kinds in found["systems"].values():
        for when, rounds in kinds.items():
            bulk, query = (statistics.median(each) for each in zip(*rounds, strict=True))
            kinds[when] = {"texts_s": bulk, "query_s": query}
    return found


def both(texts: list[str], queries: int, opened: Opened) -> tuple[float, float]:
    """Return seconds for the texts, and for one query."""
    bulk = timed(partial(opened.embed, texts))
    return bulk, statistics.median(timed(partial(opened.embed, [QUERY])) for _ in range(queries))


def load_another(_opened: Opened) -> None:
    from langchain_xlm import XLMEmbeddings

    other = XLMEmbeddings(device="cpu")
    other.embed_documents(mixed_texts(8, seed=9))
    _others.append(other)
