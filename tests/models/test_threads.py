"""Helpers of OpenMP end when they are told to, and come back when they are needed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import pytest

from langchain_xlm.models import threads
from langchain_xlm.models.threads import release_threads

_PROGRAM = """
import json, os, time, torch
from langchain_xlm.models.threads import release_threads

def counted():
    return len(os.listdir("/proc/self/task"))

def fewer_than(count):
    for _ in range(200):  # a thread that has ended is listed for a moment
        if counted() < count:
            return True
        time.sleep(0.01)
    return False

numbers = torch.empty(2**22)
found = [counted()]
numbers.fill_(1)
found.append(counted())
release_threads()
found.append(fewer_than(found[1]))
total = numbers.exp().sum().item()
found += [counted(), total / 2**22]
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted on Linux")
@pytest.mark.skipif(threads._gnu_openmp() is None, reason="torch has another OpenMP here")
def test_helpers_end_and_come_back() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _PROGRAM],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    first, working, ended, again, mean = json.loads(ran.stdout)
    assert working == first + 1
    assert ended
    assert again == working
    assert mean == pytest.approx(2.718, abs=1e-3)


def test_without_gnu_openmp_nothing_happens(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_gnu_openmp", lambda: None)
    release_threads()


def test_other_runtimes_are_not_taken_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("GOMP_parallel", "omp_pause_resource_all", "__kmpc_fork_call")
    intel = SimpleNamespace(**dict.fromkeys(names))
    windows = SimpleNamespace()

    def unloadable(_: object) -> object:
        raise TypeError("bad argument type for built-in operation")

    for library in (lambda _: intel, lambda _: windows, unloadable):
        threads._gnu_openmp.cache_clear()
        with monkeypatch.context() as patch:
            patch.setattr(threads.ctypes, "CDLL", library)
            assert threads._gnu_openmp() is None
    threads._gnu_openmp.cache_clear()
