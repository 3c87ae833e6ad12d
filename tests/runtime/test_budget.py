"""Models under a memory budget: who leaves for whom, and that memory comes back for real."""

from __future__ import annotations

import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from concurrent.futures import Future

import pytest

from langchain_xlm import loaded_models, memory_in_use, set_memory_budget, unload_models
from langchain_xlm.errors import ConfigurationError, InsufficientMemoryError, ModelUnloadedError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.pool import SharedModel
from tests.runtime.counting_session import CountingSession

SPECS = [LoadSpec("encoder", f"somebody/number-{number}") for number in range(4)]


class Models:
    """Shared models of 100 bytes each, with the sessions that were opened for them."""

    def __init__(self) -> None:
        self.sessions: dict[LoadSpec, list[CountingSession]] = {spec: [] for spec in SPECS}
        self.sizes = dict.fromkeys(SPECS, 100)
        self.expected: dict[LoadSpec, int] = {}

    def open(self, spec: LoadSpec) -> CountingSession:
        self.sessions[spec].append(CountingSession(memory_bytes=self.sizes[spec]))
        return self.sessions[spec][-1]

    def ask(self, number: int, value: int = 2) -> Future[list[int]]:
        spec = SPECS[number]
        model = SharedModel(spec, self.open, lambda spec: self.expected.get(spec, self.sizes[spec]))
        return model.submit(("a", [value]))

    def hold(self, number: int) -> Future[list[int]]:
        """Keep a model busy until its gate is set."""
        self.ask(number).result(10)
        session = self.sessions[SPECS[number]][-1]
        session.gate.clear()
        session.entered.clear()
        held = self.ask(number, 3)
        assert session.entered.wait(10)
        return held


@pytest.fixture
def models() -> Iterator[Models]:
    unload_models()
    made = Models()
    yield made
    for sessions in made.sessions.values():
        for session in sessions:
            session.gate.set()
    set_memory_budget(None)
    unload_models()


def loaded() -> list[int]:
    return sorted(SPECS.index(spec) for spec in loaded_models())


def until(condition: object) -> None:
    end = time.monotonic() + 10
    while not condition():  # type: ignore[operator]
        assert time.monotonic() < end
        time.sleep(0.001)


def test_without_a_budget_everything_stays(models: Models) -> None:
    for number in range(4):
        models.ask(number).result(10)
    assert loaded() == [0, 1, 2, 3]
    assert memory_in_use() == dict.fromkeys(SPECS, 100)


def test_the_longest_unused_leaves_first(models: Models) -> None:
    set_memory_budget(300)
    for number in (0, 1, 2, 0, 3):
        models.ask(number).result(10)
    assert loaded() == [0, 2, 3]
    assert models.sessions[SPECS[1]][0].closed
    assert memory_in_use() == {SPECS[number]: 100 for number in (0, 2, 3)}
    assert models.ask(1).result(10) == [4]  # loaded anew
    assert loaded() == [0, 1, 3]


def test_room_is_made_before_loading(models: Models) -> None:
    set_memory_budget(200)
    open_at_once = []
    real = models.open

    def opened(spec: LoadSpec) -> CountingSession:
        session = real(spec)
        others = [one for several in models.sessions.values() for one in several]
        open_at_once.append(sum(not one.closed for one in others))
        return session

    models.open = opened  # type: ignore[method-assign]
    for number in (0, 1, 2, 3):
        models.ask(number).result(10)
    assert open_at_once == [1, 2, 2, 2]


def test_what_is_pinned_never_leaves(models: Models) -> None:
    set_memory_budget(200, pinned=[SPECS[0]])
    for number in (0, 1, 2, 3):
        models.ask(number).result(10)
    assert loaded() == [0, 3]
    with pytest.raises(ConfigurationError, match="'somebody/number-0', which is no LoadSpec"):
        set_memory_budget(200, pinned=["somebody/number-0"])  # type: ignore[list-item]
    unload_models(SPECS[0])
    assert loaded() == [3]


def test_a_busy_model_answers_all_before_it_leaves(models: Models) -> None:
    set_memory_budget(100)
    held = models.hold(0)
    other = models.ask(1)
    until(lambda: loaded() == [0, 1])
    waiting = models.ask(0, 4)  # comes after the other, and is answered before 0 leaves
    time.sleep(0.05)
    session = models.sessions[SPECS[0]][0]
    assert not session.closed
    assert not models.sessions[SPECS[1]]
    session.gate.set()
    assert (held.result(10), waiting.result(10), other.result(10)) == ([9], [16], [4])
    assert len(models.sessions[SPECS[0]]) == 1
    assert session.closed
    assert loaded() == [1]


def test_an_idle_model_leaves_rather_than_a_busy_one(models: Models) -> None:
    set_memory_budget(200)
    held = models.hold(0)
    models.ask(1).result(10)
    models.ask(2).result(10)
    assert loaded() == [0, 2]
    models.sessions[SPECS[0]][0].gate.set()
    assert held.result(10) == [9]


def test_loading_waits_for_nobody_where_there_is_room(models: Models) -> None:
    set_memory_budget(200)
    models.hold(0)
    assert models.ask(1).result(10) == [4]


def test_nobody_is_loaded_for_a_caller_who_is_gone(models: Models) -> None:
    set_memory_budget(100)
    held = models.hold(0)
    gone = models.ask(1)
    until(lambda: loaded() == [0, 1])
    assert gone.cancel()
    until(lambda: loaded() == [0])
    models.sessions[SPECS[0]][0].gate.set()
    held.result(10)
    assert not models.sessions[SPECS[1]]


def test_a_model_that_waits_for_room_can_be_unloaded(models: Models) -> None:
    set_memory_budget(100)
    models.hold(0)
    waiting = models.ask(1)
    unload_models(SPECS[1], drop_waiting=True)
    with pytest.raises(ModelUnloadedError):
        waiting.result(10)


def test_a_model_beyond_the_budget_is_refused_before_loading(models: Models) -> None:
    set_memory_budget("1KiB", pinned=[SPECS[0]])
    models.ask(0).result(10)
    models.ask(2).result(10)
    models.sizes[SPECS[1]] = 1000
    with pytest.raises(InsufficientMemoryError, match="of which pinned models hold") as caught:
        models.ask(1).result(10)
    assert (caught.value.needed_bytes, caught.value.free_bytes) == (1000, 924)
    assert not models.sessions[SPECS[1]]
    assert loaded() == [0, 2]  # nobody left for it


def test_a_model_larger_than_expected_is_checked_again(models: Models) -> None:
    set_memory_budget(200)
    models.ask(0).result(10)
    models.sizes[SPECS[1]], models.expected[SPECS[1]] = 150, 50
    assert models.ask(1).result(10) == [4]
    until(lambda: loaded() == [1])
    models.sizes[SPECS[2]], models.expected[SPECS[2]] = 300, 50
    with pytest.raises(InsufficientMemoryError, match="set_memory_budget"):
        models.ask(2).result(10)
    assert models.sessions[SPECS[2]][0].closed
    assert SPECS[2] not in memory_in_use()


def test_two_models_larger_than_expected_do_not_wait_for_each_other(models: Models) -> None:
    set_memory_budget(200)
    for number in (0, 1):
        models.sizes[SPECS[number]], models.expected[SPECS[number]] = 150, 50
    both_open = threading.Barrier(2)
    real = models.open

    def opened(spec: LoadSpec) -> CountingSession:
        session = real(spec)
        both_open.wait(10)
        return session

    models.open = opened  # type: ignore[method-assign]
    asked = [models.ask(number) for number in (0, 1)]
    assert [one.result(10) for one in asked] == [[4], [4]]
    until(lambda: sum(memory_in_use().values()) <= 200)


def test_a_lower_budget_holds_at_once(models: Models) -> None:
    for number in range(4):
        models.ask(number).result(10)
    set_memory_budget(250)
    until(lambda: loaded() == [2, 3])


def test_many_threads_never_hold_more_than_the_budget(models: Models) -> None:
    set_memory_budget(200)
    most = 0
    done = threading.Event()

    def watch() -> None:
        nonlocal most
        while not done.is_set():
            most = max(most, sum(memory_in_use().values()))

    watcher = threading.Thread(target=watch)
    watcher.start()
    asked = [models.ask(turn % 4, turn % 7) for turn in range(60)]
    answers = [one.result(60) for one in asked]
    done.set()
    watcher.join()
    assert answers == [[(turn % 7) ** 2] for turn in range(60)]
    assert 100 <= most <= 200


@pytest.mark.parametrize("wrong", ["700", "much", -1, 1.5, True])
def test_a_limit_that_is_no_size_is_refused(wrong: object) -> None:
    with pytest.raises(ConfigurationError, match="no size"):
        set_memory_budget(wrong)  # type: ignore[arg-type]


RETURN = """
import sys
from pathlib import Path
from transformers import XLMRobertaConfig, XLMRobertaModel
from langchain_xlm import XLMEmbeddings, memory_in_use, unload_models
from tests.tiny_tokenizers import xlm_roberta_tokenizer
from tests.tiny import tiny_checkpoint

def resident(kind="RssAnon"):
    lines = Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith(kind))

folder, dtype = Path(sys.argv[1]), sys.argv[2]
xlm_roberta_tokenizer(folder, window=512)
XLMRobertaModel(
    # 8 layers of XLM-R base, 114 MiB in 16 bits in pieces of 1 to 5 MiB: larger ones return to
    # the system whatever one does.
    XLMRobertaConfig(vocab_size=3_000, num_hidden_layers=8, max_position_embeddings=514,
                     pad_token_id=1), add_pooling_layer=False,
).save_pretrained(folder)
# Everything that is loaded once and stays.
XLMEmbeddings(model=str(tiny_checkpoint("xlm-roberta", folder / "t")), dtype=dtype).embed_query("a")
unload_models()
before = resident("RssAnon") + resident("RssFile")
for _ in range(2):
    XLMEmbeddings(model=str(folder), dtype=dtype).embed_documents(["some words " * 20])
    (held,) = memory_in_use().values()
    loaded = resident("RssAnon") + resident("RssFile")
    unload_models()
    after = resident("RssAnon") + resident("RssFile")
print(held / 2**20, loaded - before, after - before)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.parametrize("dtype", ["bfloat16", "float32"])
def test_memory_of_an_unloaded_model_returns_to_the_system(dtype: str, tmp_path: object) -> None:
    program = [sys.executable, "-c", RETURN, str(tmp_path), dtype]
    output = subprocess.run(program, capture_output=True, text=True, check=True).stdout
    held, loaded, after = (float(figure) for figure in output.split())
    assert held > 100
    assert loaded > held * 0.9
    # A few MiB are code that ran for the first time, and half-used pages of the heap.
    assert after < 20
