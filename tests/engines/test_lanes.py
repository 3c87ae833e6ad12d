"""Parts of a batch side by side give what the whole batch gives, on threads that end with it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from langchain_xlm.engines import lanes, states
from langchain_xlm.engines.classifier import Classifier, ClassifierSession
from langchain_xlm.engines.encoder import Encoder
from langchain_xlm.engines.encoder_session import EncoderSession, EncodingRequest
from langchain_xlm.engines.generator import GenerationSettings, Generator
from langchain_xlm.engines.lanes import (
    Lanes,
    compute_on_one_core,
    divide,
    lanes_here,
    on_all_cores,
)
from langchain_xlm.models import processor, threads
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.int8 import LastInput
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import unload_models

Checkpoints = Callable[..., Path]

TEXTS = [
    "Where is the station?",
    "Der Zug fährt heute nicht.",
    "今天天气很好。",
    "",
    "One. Two! Three? Four; five, six seven eight nine ten.",
    "Where is the station!",
    "🙂",
    "The bridge has been closed since Monday, and nobody knows for how long.",
    "Another sentence of a middling length stands here.",
]


@pytest.fixture
def two(monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (lanes, states):
        monkeypatch.setattr(module, "lanes_here", lambda: 2)


@given(st.lists(st.integers(1, 512), min_size=1, max_size=60), st.integers(2, 8))
def test_every_row_goes_somewhere_and_lanes_are_even(costs: list[int], count: int) -> None:
    parts, left = divide(costs, count)
    assert sorted([place for part in parts for place in part] + left) == list(range(len(costs)))
    if not parts:
        return
    loads = [sum(costs[place] for place in part) for part in parts]
    assert len(parts) == count
    assert all(parts)
    assert len(left) < count
    assert max(loads) * count <= 1.15 * sum(loads)


@pytest.mark.parametrize(
    ("costs", "even", "left"),
    [
        ([300, 300], True, 0),
        ([300, 300, 300], True, 1),
        ([300] * 9, True, 0),
        ([500, 10], False, 2),
        ([500], False, 1),
    ],
)
def test_rows_that_make_lanes_uneven_are_left_over(costs: list[int], even: bool, left: int) -> None:
    parts, rest = divide(costs, 2)
    assert bool(parts) == even
    assert len(rest) == left


def test_lanes_work_at_the_same_time_and_in_order() -> None:
    two_at_once = threading.Barrier(2)

    def work(number: int) -> tuple[int, str]:
        two_at_once.wait(timeout=30)
        return number, threading.current_thread().name

    found = Lanes(2)
    results = [found.run(work, [1, 2]) for _ in range(2)]
    found.close()
    assert results[0] == results[1]
    assert [number for number, _ in results[0]] == [1, 2]
    assert results[0][0][1] != results[0][1][1]


@pytest.fixture
def four_threads() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(4)
    yield
    torch.set_num_threads(before)


def test_torch_shares_its_threads_out_and_forgets_nothing(four_threads: None) -> None:
    before = torch.get_num_threads()
    found = Lanes(2)
    inside = found.run(lambda _: torch.get_num_threads(), [0, 0])
    born_later: list[int] = []
    thread = threading.Thread(target=lambda: born_later.append(torch.get_num_threads()))
    thread.start()
    thread.join()
    found.close()
    assert inside == [2, 2]
    assert torch.get_num_threads() == before
    assert born_later == [before]


def test_a_failing_part_is_heard_after_the_others_have_ended() -> None:
    ended = []

    def work(number: int) -> None:
        if number == 0:
            raise MemoryError("no room")
        ended.append(number)

    found = Lanes(2)
    with pytest.raises(MemoryError, match="no room"):
        found.run(work, [0, 1])
    found.close()
    assert ended == [1]


def test_how_many_lanes_a_processor_has(monkeypatch: pytest.MonkeyPatch) -> None:
    for cores, count in ((1, 1), (2, 2), (64, 8)):
        monkeypatch.setattr(torch, "get_num_threads", lambda cores=cores: cores)
        assert lanes_here() == (1 if processor.is_arm() else count)
    monkeypatch.setattr(processor.platform, "machine", lambda: "aarch64")
    assert lanes_here() == 1


SETTINGS: list[tuple[str, dict[str, Any], float]] = [
    ("xlm-roberta", {"dtype": "float32"}, 1e-5),
    ("xmod", {"dtype": "float32"}, 1e-5),
    ("bert", {"dtype": "float32"}, 1e-5),
    ("xlm-roberta", {"dtype": "bfloat16"}, 2e-2),
    ("xlm-roberta", {"quantization": "8bit"}, 1e-5),
    ("xlm-roberta", {"backend": "ctranslate2", "quantization": "8bit"}, 1e-5),
]


@pytest.mark.parametrize(("kind", "fields", "tolerance"), SETTINGS)
def test_vectors_are_those_of_the_whole_batch(
    kind: str,
    fields: dict[str, Any],
    tolerance: float,
    checkpoints: Checkpoints,
    two: None,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    if fields.get("backend") == "ctranslate2":
        pytest.importorskip("ctranslate2")
    fields = {"backend": "torch", **fields}
    session = EncoderSession(LoadSpec("encoder", str(checkpoints(kind)), device="cpu", **fields))
    assert session.batch_multiple == 2
    (units,) = session.prepare(EncodingRequest(TEXTS, "document", None, None, "pool"))
    used = []
    run = Lanes.run
    monkeypatch.setattr(
        Lanes, "run", lambda self, work, parts: used.append(parts) or run(self, work, parts)
    )
    in_lanes = session.run(units)
    assert len(used) == 1
    monkeypatch.setattr(states, "divide", lambda costs, _: ([], list(range(len(costs)))))
    whole = session.run(units)
    session.close()
    assert [row for row, _ in in_lanes] == [row for row, _ in whole]
    for (_, ours), (_, exact) in zip(in_lanes, whole, strict=True):
        np.testing.assert_allclose(ours, exact, atol=tolerance)


def test_what_is_left_over_is_found_again(
    checkpoints: Checkpoints, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = LoadSpec("encoder", str(checkpoints("xlm-roberta")), device="cpu", backend="torch")
    session = EncoderSession(spec)
    request = EncodingRequest(TEXTS[:3], "document", None, None, "pool")
    (units,) = session.prepare(request)
    monkeypatch.setattr(states, "divide", lambda *_: ([[2], [0]], [1]))
    ours = session.run(units)
    monkeypatch.setattr(states, "divide", lambda *_: ([], [0, 1, 2]))
    exact = session.run(units)
    session.close()
    for (_, one), (_, other) in zip(ours, exact, strict=True):
        np.testing.assert_allclose(one, other, atol=1e-5)


def test_threads_end_with_the_model(checkpoints: Checkpoints, two: None) -> None:
    def running() -> set[str]:
        return {each.name for each in threading.enumerate() if " lane " in each.name}

    before = running()
    opened = [
        EncoderSession(LoadSpec("encoder", str(checkpoints("xlm-roberta")), device="cpu")),
        ClassifierSession(
            LoadSpec("classifier", str(checkpoints("xlm-roberta-classifier")), device="cpu")
        ),
    ]
    names = [each.name for each in threading.enumerate() if " lane " in each.name]
    assert len(names) >= 4
    for session in opened:
        assert session.batch_multiple == 2
        session.close()
    assert running() == before


def test_a_classifier_judges_alike_in_lanes(
    checkpoints: Checkpoints, two: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    spec = LoadSpec("classifier", str(checkpoints("xlm-roberta-classifier")), device="cpu")
    session = ClassifierSession(spec)
    units = [unit for some in session.prepare(TEXTS) for unit in some]
    ours = session.run(units)
    monkeypatch.setattr(states, "divide", lambda costs, _: ([], list(range(len(costs)))))
    whole = session.run(units)
    session.close()
    for (_, one), (_, other) in zip(ours, whole, strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)


@pytest.mark.parametrize(
    ("kind", "fields"),
    [
        ("xlm-roberta", {"quantization": "4bit"}),  # bitsandbytes keeps what it computes with
        ("xlm-roberta", {"attn_implementation": "sdpa"}),
        ("xlm-roberta", {"backend": "ctranslate2", "dtype": "float32"}),
        ("xlm", {}),
    ],
)
def test_other_models_run_in_one_thread(
    kind: str, fields: dict[str, Any], checkpoints: Checkpoints, two: None
) -> None:
    if fields.get("backend") == "ctranslate2":
        pytest.importorskip("ctranslate2")
    fields = {"backend": "torch", **fields}
    session = EncoderSession(LoadSpec("encoder", str(checkpoints(kind)), device="cpu", **fields))
    lanes_of_it = session.batch_multiple
    session.close()
    assert lanes_of_it == 1


def test_each_thread_has_its_own_last_input() -> None:
    shared = LastInput()
    source = torch.ones(2, 4)
    rows, _ = shared.rows_of(source, unsigned=False)
    found = Lanes(2)
    elsewhere = found.run(lambda _: shared.rows_of(source, unsigned=False)[0], [0, 1])
    found.close()
    assert shared.rows_of(source, unsigned=False)[0] is rows
    assert elsewhere[0] is not rows
    assert elsewhere[0] is not elsewhere[1]


def test_what_stays_whole_shares_one_thread() -> None:
    names: list[str] = []

    def ask() -> None:
        names.append(on_all_cores(lambda: threading.current_thread().name))

    askers = [threading.Thread(target=ask) for _ in range(4)]
    for each in askers:
        each.start()
    for each in askers:
        each.join()
    assert len(names) == 4
    assert len(set(names)) == 1
    with pytest.raises(ZeroDivisionError):
        on_all_cores(lambda: 1 // 0)


def test_one_core_for_one_thread_alone(four_threads: None) -> None:
    before = torch.get_num_threads()
    seen: list[int] = []

    def owner() -> None:
        for _ in range(2):
            compute_on_one_core()
            seen.append(torch.get_num_threads())

    for work in (owner, lambda: seen.append(torch.get_num_threads())):
        thread = threading.Thread(target=work)
        thread.start()
        thread.join()
    assert seen == [1, 1, before]
    assert torch.get_num_threads() == before


def test_the_common_number_may_change_after_a_thread_was_born(four_threads: None) -> None:
    born, changed = threading.Event(), threading.Event()

    def owner() -> None:
        torch.get_num_threads()
        born.set()
        changed.wait(30)
        compute_on_one_core()

    thread = threading.Thread(target=owner)
    thread.start()
    born.wait(30)
    torch.set_num_threads(3)
    changed.set()
    thread.join()
    with ThreadPoolExecutor(1) as executor:
        assert executor.submit(torch.get_num_threads).result() == 3


@pytest.mark.parametrize("engine", [Encoder, Classifier])
def test_the_owner_of_a_model_that_reads_computes_on_one_core(
    engine: Any, checkpoints: Checkpoints, four_threads: None
) -> None:
    task = engine.__name__.lower()
    kind = "xlm-roberta" if task == "encoder" else "xlm-roberta-classifier"
    model = engine(LoadSpec(task, str(checkpoints(kind)), device="cpu"))._model
    assert model.call(lambda _: torch.get_num_threads()).result(60) == 1
    unload_models()


def test_a_writer_takes_the_helpers_over(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    calls: list[str] = []
    for name in ("take_over", "give_way"):
        monkeypatch.setattr(lanes, name, lambda name=name: calls.append(name))
    spec = LoadSpec("seq2seq", str(checkpoints("m2m100")), device="cpu", backend="torch")
    generator = Generator(spec)
    settings = GenerationSettings(max_new_tokens=4)
    run_flow(
        generator.generate(["A text."], source="en", target="de", settings=settings), model="tiny"
    )
    unload_models()
    assert calls[:2] == ["give_way", "take_over"]


def test_where_a_model_computes(checkpoints: Checkpoints, two: None) -> None:
    spec = LoadSpec("encoder", str(checkpoints("xlm-roberta")), device="cpu", backend="torch")
    session = EncoderSession(spec)
    names: set[str] = set()
    session._loaded.model.register_forward_pre_hook(
        lambda *_: names.add(threading.current_thread().name.partition("_")[0])
    )
    found = []
    for texts in (TEXTS[:1], TEXTS):
        request = EncodingRequest(texts, "document", None, None, "pool")
        (units,) = session.prepare(request)
        session.run(units)
        found.append(set(names))
        names.clear()
    session.close()
    assert found[0] == {"langchain-xlm all cores"}
    assert {"langchain-xlm lane 0", "langchain-xlm lane 1"} <= found[1]


_HELPERS = """
import json, os, time, torch
from langchain_xlm.engines.lanes import give_way, on_all_cores, take_over

def counted():
    time.sleep(0.3)
    return len(os.listdir("/proc/self/task"))

numbers = torch.empty(2**22)
first = counted()
numbers.fill_(1)
give_way()
found = {"alone": counted() - first}
on_all_cores(lambda: numbers.exp().sum())
found["both"] = counted() - first
give_way()
found["given way"] = counted() - first
numbers.exp()
take_over()
found["taken over"] = counted() - first
print(json.dumps(found))
"""


@pytest.mark.skipif(not Path("/proc/self/task").is_dir(), reason="threads are counted on Linux")
@pytest.mark.skipif(threads._gnu_openmp() is None, reason="torch has another OpenMP here")
def test_helpers_of_one_thread_go_when_another_needs_the_cores() -> None:
    ran = subprocess.run(
        [sys.executable, "-c", _HELPERS],
        env={**os.environ, "OMP_NUM_THREADS": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    # The common thread is one more, and each of the two keeps one helper.
    assert json.loads(ran.stdout) == {"alone": 1, "both": 3, "given way": 2, "taken over": 2}
