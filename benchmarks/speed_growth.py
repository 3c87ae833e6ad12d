"""How cost and memory grow with the number of texts."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

from benchmarks.checkpoints import STARTER, xlm_roberta
from benchmarks.speed_texts import QUERY, mixed_texts
from benchmarks.speed_timing import Result, both_times, note


def small_model(given: argparse.Namespace) -> Path:
    """A model so small that what is around it weighs most: it shows what grows."""
    return xlm_roberta("tiny", given.out / "xlm-roberta-tiny")


def scale(given: argparse.Namespace) -> Result:
    """Cost of a token against the number of texts, on the bundled starter and the small model."""
    return {
        "the bundled starter": costs(STARTER, given.scale),
        "two layers of 128": costs(small_model(given), given.scale),
    }


def costs(folder: Path, counts: list[int]) -> Result:
    from transformers import AutoTokenizer

    from langchain_xlm import XLMEmbeddings

    embeddings = XLMEmbeddings(model=str(folder), device="cpu", dtype="float32")
    embeddings.embed_query(QUERY)
    tokenizer = AutoTokenizer.from_pretrained(folder)
    found = {}
    for count in counts:
        texts = short_texts(count)
        tokens = sum(map(len, tokenizer(texts, verbose=False)["input_ids"]))
        # Small numbers of texts are over in a moment, so they take turns until a second is full.
        clock, processor, rounds = 0.0, 0.0, 0
        while not rounds or (clock < 1 and rounds < 20):
            (one, other), _ = both_times(partial(embeddings.embed_documents, texts))
            clock, processor, rounds = clock + one, processor + other, rounds + 1
        found[str(count)] = {
            "tokens": tokens,
            "rounds": rounds,
            "seconds": clock / rounds,
            "processor_seconds": processor / rounds,
            "us_a_token": processor / rounds / tokens * 1e6,
        }
        note(f"{count} texts: {clock / rounds:.2f} s")
    embeddings.unload()
    return found


def memory(given: argparse.Namespace) -> Result:
    """Largest resident memory of `langchain-xlm embed` against the number of texts."""
    folder = small_model(given)
    found = {}
    for count in given.memory:
        source = given.out / f"texts-{count}.txt"
        source.write_text("\n".join(short_texts(count)), encoding="utf-8")
        target = given.out / f"vectors-{count}.parquet"
        target.unlink(missing_ok=True)
        arguments = ["embed", str(source), "-o", str(target), "--model", str(folder)]
        command = [sys.executable, "-m", "langchain_xlm.cli", *arguments, "--device", "cpu"]
        largest = largest_memory(command)
        found[str(count)] = {
            "megabytes": largest / 2**20,
            "written_megabytes": target.stat().st_size / 2**20,
        }
        target.unlink()
        source.unlink()
        note(f"{count} texts: {largest / 2**20:.0f} MB")
    return found


def short_texts(count: int) -> list[str]:
    return mixed_texts(count, words=6.0, most=40)


def largest_memory(command: list[str]) -> int:
    """Run a command and return its largest resident memory in bytes, asked 20 times a second."""
    import psutil

    largest = 0
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        watched = psutil.Process(process.pid)
        while process.poll() is None:
            largest = max(largest, watched.memory_info().rss)
            time.sleep(0.05)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {process.returncode}")
    return largest
