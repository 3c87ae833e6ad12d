"""How the cost of a token depends on the length of texts, and on how many come at once."""

from __future__ import annotations

import argparse
import statistics
from functools import partial

from benchmarks.speed_peak import embed, texts_of_equal_length
from benchmarks.speed_peers import OURS, REFERENCE, SYSTEMS, Opened
from benchmarks.speed_texts import token_counts
from benchmarks.speed_timing import Result, note, timed
from benchmarks.speed_workers import Worker, workers

_COMPARED = (
    REFERENCE, OURS, f"{OURS}, 8bit", "CTranslate2, int8", "ONNX Runtime, int8", "OpenVINO",
)  # fmt: skip
_LENGTHS = (16, 32, 64, 128, 256, 512)
_TOKENS = 4096
_AT_ONCE = (1, 2, 4, 8, 16, 32, 64, 128)
_TOKENS_EACH = 32
_SECONDS = 0.5


def lengths(given: argparse.Namespace) -> Result:
    """The same number of tokens in many short texts or a few long ones; no text needs padding."""
    cases = {
        length: texts_of_equal_length(given.folder, length, _TOKENS // length)
        for length in _LENGTHS
    }
    return _costs(given, cases)


def batch(given: argparse.Namespace) -> Result:
    """Calls with one text, two, and so on, all of the same length."""
    cases = {count: texts_of_equal_length(given.folder, _TOKENS_EACH, count) for count in _AT_ONCE}
    return _costs(given, cases) | {"tokens_each": _TOKENS_EACH}


def _costs(given: argparse.Namespace, cases: dict[int, list[str]]) -> Result:
    """Time every case on every system, which take turns; slow systems have fewer rounds."""
    names = [name for name in _COMPARED if name in given.systems]
    with workers(names, given) as (opened, skipped):
        for worker in opened.values():
            worker.run(partial(embed, cases[min(cases)]))
        taken: dict[str, dict[int, list[float]]] = {
            name: {number: [] for number in cases} for name in opened
        }
        for turn in range(given.rounds):
            for number, texts in cases.items():
                for name, worker in opened.items():
                    if turn < (given.slow_rounds if SYSTEMS[name].slow else given.rounds):
                        taken[name][number].append(_median_of(worker, texts))
            note(f"round {turn + 1} of {given.rounds}")
    tokens = {number: sum(token_counts(given.folder, texts)) for number, texts in cases.items()}
    return {
        "skipped": skipped,
        "tokens": tokens,
        "us_a_token": {
            name: {
                number: 1e6 * statistics.median(each) / tokens[number]
                for number, each in of_system.items()
            }
            for name, of_system in taken.items()
        },
    }


def _median_of(worker: Worker, texts: list[str]) -> float:
    return statistics.median(worker.run(partial(until_some_time, texts)))


def until_some_time(texts: list[str], opened: Opened) -> list[float]:
    """Time the same work again and again until half a second is over."""
    taken: list[float] = []
    while sum(taken) < _SECONDS:
        taken.append(timed(partial(opened.embed, texts)))
    return taken
