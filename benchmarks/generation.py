"""Translation side by side: plain `generate`, CTranslate2, and this package.

    python -m benchmarks.generation --out FOLDER [--sentences N] [--rounds R] [--beams 1 4]
        [--systems NAME ...] [--part m2m100-418m | starter | small] [--work FOLDER]

Every system gets the same checkpoint folder and the same sentences, and the systems take turns,
round by round. Every timing is written to `FOLDER/generation.json` at once, beside those of
earlier runs of the same sentences, so that a run can be stopped, and one part measured after the
other. The table and the chart are made anew from all that is there.
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import sys
import time
from importlib.metadata import version
from pathlib import Path
from typing import Any

from benchmarks.generation_model import SHAPES, build, sentences
from benchmarks.generation_page import write_page
from benchmarks.generation_systems import SYSTEMS, Job, open_system

TOKENS = 32
# One call a sentence takes so long that a part of the sentences must do: every eighth, or 16.
LOOP_STEP, LOOP_MOST = 8, 16
STARTER_SYSTEMS = ("loop-float32", "batched-float32", "ours-torch-float32", "ours-torch-bfloat16")


def job_of(part: str, work: Path) -> Job:
    """Prepare the checkpoint of a part."""
    if part == "starter":
        import langchain_xlm

        folder = Path(langchain_xlm.__file__).parent / "models" / "starter" / "translation"
        return Job(folder, target="__de__", tokens=None, most=128, told=False)
    folder = build(work, part)
    return Job(folder, target="__de__", tokens=TOKENS, most=TOKENS, told=True)


def texts_of(part: str, count: int) -> list[str]:
    """The sentences of a part; the starter's are real and short."""
    if part != "starter":
        return sentences(count)
    from benchmarks.__main__ import SENTENCES
    from langchain_xlm.cli.demo_texts import ARTICLE
    from langchain_xlm.text.segments import split_sentences

    article = [segment.text for segment in split_sentences(ARTICLE, "en")]
    return (article + SENTENCES)[:count]


def share_of(name: str, texts: list[str]) -> list[str]:
    """The sentences that a system is timed with."""
    step = max(LOOP_STEP, len(texts) // LOOP_MOST)
    return texts[::step] if name.startswith("loop") else texts


def machine() -> dict[str, Any]:
    """What the figures hold for."""
    import torch

    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        names = [line.partition(":")[2].strip() for line in lines if line.startswith("model name")]
    except OSError:
        names = []
    packages = ("torch", "transformers", "ctranslate2", "langchain-xlm")
    return {
        "processor": names[0] if names else platform.processor() or platform.machine(),
        "cores": os.cpu_count(),
        "threads": torch.get_num_threads(),
        "python": platform.python_version(),
        **{package: version(package) for package in packages},
    }


def likeness(written: list[str], exact: list[str]) -> dict[str, float]:
    """How near outputs are to those of float32: share of equal ones, and chrF from 0 to 100.

    Tokens without a text count for nothing: plain `generate` spells them "<unk>".
    """
    from sacrebleu.metrics import CHRF

    written, exact = (
        [" ".join(text.replace("<unk>", "").split()) for text in texts]
        for texts in (written, exact)
    )

    equal = sum(one == other for one, other in zip(written, exact, strict=True))
    return {
        "equal": equal / len(exact),
        "chrf": CHRF().corpus_score(written, [exact]).score,
    }


def main() -> None:
    """Measure, and write what was measured."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--work", type=Path, default=Path("build/benchmarks"))
    parser.add_argument("--part", choices=(*SHAPES, "starter"), default="m2m100-418m")
    parser.add_argument("--sentences", type=int, default=32)
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--beams", type=int, nargs="+", default=[1, 4])
    parser.add_argument("--systems", nargs="+", choices=SYSTEMS, default=None)
    asked = parser.parse_args()
    names = asked.systems or list(STARTER_SYSTEMS if asked.part == "starter" else SYSTEMS)
    asked.out.mkdir(parents=True, exist_ok=True)
    file = asked.out / "generation.json"
    report = json.loads(file.read_text(encoding="utf-8")) if file.is_file() else {"results": {}}
    report["machine"] = machine()
    job = job_of(asked.part, asked.work)
    texts = texts_of(asked.part, asked.sentences)
    systems = {}
    for name in names:
        print(f"opening {name}", file=sys.stderr)
        systems[name] = open_system(name, job)
        systems[name](texts[:2], 1)  # what a first call alone has to do
    for turn in range(asked.rounds):
        for beams in asked.beams:
            for name in names:
                own = share_of(name, texts)
                before = time.perf_counter()
                written = systems[name](own, beams)
                taken = time.perf_counter() - before
                result = report["results"].setdefault(
                    f"{asked.part}/{beams}/{name}/{len(own)}",
                    {
                        "part": asked.part, "beams": beams, "system": name,
                        "sentences": len(own), "tokens": job.tokens, "seconds": [],
                    },
                )  # fmt: skip
                result["seconds"].append(taken)
                result["written"] = written
                _compare(report["results"], asked.part, beams)
                kept = json.dumps(report, ensure_ascii=False, indent=1)
                file.write_text(kept + "\n", encoding="utf-8")
                print(
                    f"round {turn + 1} beams {beams} {len(own) / taken:8.2f} sentences/s {name}",
                    file=sys.stderr,
                )
    write_page(report, asked.out)


def _compare(results: dict[str, dict[str, Any]], part: str, beams: int) -> None:
    """Put beside each result how near it is to plain float32 on the same sentences."""
    group = [r for r in results.values() if (r["part"], r["beams"]) == (part, beams)]
    exact = {r["sentences"]: r for r in group if r["system"] == "batched-float32"}
    for result in group:
        if (other := exact.get(result["sentences"])) is not None:
            result.update(likeness(result["written"], other["written"]))


if __name__ == "__main__":
    main()
