"""From nothing to the first answer, in new processes: import, load, first and second query."""

from __future__ import annotations

import argparse
import json
import os
import statistics
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

from benchmarks.speed_peers import OURS, REFERENCE
from benchmarks.speed_texts import QUERY
from benchmarks.speed_timing import Result, note

_TAKE = """
import json, sys, time
folder, query = sys.argv[1:]
clock = [time.perf_counter()]
{imports}
clock.append(time.perf_counter())
{load}
clock.append(time.perf_counter())
embeddings.embed_query(query)
clock.append(time.perf_counter())
embeddings.embed_query(query)
clock.append(time.perf_counter())
used = time.process_time()
print(json.dumps([after - before for before, after in zip(clock, clock[1:])] + [used]))
"""
STEPS = ("import", "load", "first query", "second query", "processor time of all")


def _ours(**fields: str) -> tuple[str, str]:
    given = "".join(f", {name}={value!r}" for name, value in fields.items())
    return (
        "from langchain_xlm import XLMEmbeddings",
        f"embeddings = XLMEmbeddings(model=folder, device='cpu'{given}); embeddings.info()",
    )


SYSTEMS = {
    REFERENCE: (
        "from langchain_huggingface import HuggingFaceEmbeddings",
        "embeddings = HuggingFaceEmbeddings(model_name=folder, model_kwargs={'device': 'cpu'})",
    ),
    OURS: _ours(),
    f"{OURS}, 8bit": _ours(quantization="8bit"),
    f"{OURS}, 8bit on torch": _ours(quantization="8bit", backend="torch"),
}


def start(given: argparse.Namespace) -> Result:
    """Start each system in new processes, in turns, with files in memory and without."""
    found: Result = {"rounds": given.rounds, "systems": {}}
    for name in SYSTEMS:  # what is only done once, such as compiling modules and making copies
        try:
            take(name, given.folder)
        except RuntimeError as error:
            found.setdefault("skipped", {})[name] = str(error)
    names = [name for name in SYSTEMS if name not in found.get("skipped", {})]
    taken: dict[str, dict[str, list[list[float]]]] = {
        name: {"warm": [], "cold": []} for name in names
    }
    for number in range(given.rounds):
        for kind in ("warm", "cold"):
            for name in names:
                if kind == "cold":
                    for folder in (given.folder, *package_folders(), copies()):
                        forget(folder)
                taken[name][kind].append(take(name, given.folder))
        note(f"start, round {number + 1} of {given.rounds}")
    for name in names:
        found["systems"][name] = {
            kind: dict(zip(STEPS, map(statistics.median, zip(*runs, strict=True)), strict=True))
            for kind, runs in taken[name].items()
        }
    return found


def take(name: str, folder: Path) -> list[float]:
    """Start one system; return seconds of the steps."""
    imports, load = SYSTEMS[name]
    program = _TAKE.format(imports=imports, load=load)
    done = subprocess.run(
        [sys.executable, "-c", program, str(folder), QUERY],
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError((done.stderr.strip() or "no reason given").splitlines()[-1])
    steps: list[float] = json.loads(done.stdout.splitlines()[-1])
    return steps


def package_folders() -> Iterator[Path]:
    """Where installed packages lie, and this one."""
    import langchain_xlm

    yield Path(langchain_xlm.__file__).parent
    yield from (Path(entry) for entry in sys.path if entry.endswith("site-packages"))


def copies() -> Path:
    """Where copies for CTranslate2 lie."""
    from huggingface_hub import cached_assets_path

    return Path(cached_assets_path("langchain-xlm", namespace="ctranslate2", subfolder="models"))


def forget(folder: Path) -> None:
    """Have the system drop the files of a folder from its memory, but those that others map."""
    if not hasattr(os, "posix_fadvise"):  # not Linux: "cold" is as warm
        return
    for path in folder.rglob("*"):
        if path.is_file():
            handle = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(handle, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(handle)
