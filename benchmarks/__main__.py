"""How long the package takes with its bundled models, on this machine.

`python -m benchmarks` prints a table. `python -m benchmarks.speed` compares with other libraries.
"""

from __future__ import annotations

import os
import platform
import statistics
import subprocess
import sys
import time
from collections.abc import Callable

from langchain_xlm import XLMEmbeddings, XLMSummarizationTool, XLMTranslationTool
from langchain_xlm.cli.demo_texts import ARTICLE

SHORT = "Where is the station?"
SENTENCES = [
    f"{person} {verb} {thing} {when}."
    for person in ("My sister", "The old man", "Nobody", "Our teacher")
    for verb in ("bought", "forgot", "found", "wanted")
    for thing in ("the red bicycle", "two tickets to the sea", "a letter from Paris")
    for when in ("yesterday", "on a rainy Sunday in May", "before breakfast", "last year")
]
"""192 sentences of everyday length."""

FIRST = """
import sys, time
import langchain_xlm
translate = langchain_xlm.XLMTranslationTool()
before = time.perf_counter()
translate.translate("Where is the station?", "de", "en")
print(time.perf_counter() - before)
"""


def seconds(work: Callable[[], object], repeats: int = 7) -> float:
    """Time some work.

    Args:
        work: What to do.
        repeats: How often.

    Returns:
        The median, in seconds.
    """
    taken = []
    for _ in range(repeats):
        before = time.perf_counter()
        work()
        taken.append(time.perf_counter() - before)
    return statistics.median(taken)


def new_process(program: str) -> float:
    """Time what a program measures of itself, in a new process.

    Args:
        program: Python that prints seconds.

    Returns:
        The median of three processes, in seconds.
    """
    runs = [
        subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
        for _ in range(3)
    ]
    return statistics.median(float(run.stdout) for run in runs)


def main() -> None:
    """Measure and print."""
    translate, embeddings = XLMTranslationTool(), XLMEmbeddings()
    summarize = XLMSummarizationTool()
    own_import = "import time; t = time.perf_counter(); import langchain_xlm"
    rows = [
        ("import langchain_xlm", new_process(own_import + "; print(time.perf_counter() - t)")),
        (
            "langchain-xlm --help, whole process",
            seconds(
                lambda: subprocess.run(
                    [sys.executable, "-m", "langchain_xlm.cli", "--help"],
                    capture_output=True,
                    check=True,
                )
            ),
        ),
        ("first translation in a new process, loading included", new_process(FIRST)),
    ]
    for warm in (translate.translate(SHORT, "de", "en"), embeddings.embed_query(SHORT)):
        assert warm
    rows += [
        (
            "a short sentence translated, warm",
            seconds(lambda: translate.translate(SHORT, "de", "en")),
        ),
        (
            f"{len(SENTENCES)} sentences translated as one text",
            seconds(lambda: translate.translate("\n".join(SENTENCES), "de", "en"), 1),
        ),
        ("a short query embedded, warm", seconds(lambda: embeddings.embed_query(SHORT))),
        (
            f"{len(SENTENCES)} sentences embedded",
            seconds(lambda: embeddings.embed_documents(SENTENCES), 3),
        ),
        (
            f"an article of {len(ARTICLE.split())} words summarized",
            seconds(lambda: summarize.invoke({"text": ARTICLE}), 3),
        ),
    ]
    import torch

    print(f"{platform.machine()}, {os.cpu_count()} cores, torch {torch.__version__}")
    for name, taken in rows:
        print(f"{taken * 1000:10.1f} ms  {name}")


if __name__ == "__main__":
    main()
