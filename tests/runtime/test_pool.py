from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from langchain_xlm.errors import ModelLoadError, ModelRunError, ModelUnloadedError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.pool import SharedModel, loaded_models, unload_models
from tests.runtime.counting_session import CountingSession

SPEC = LoadSpec(task="encoder", model="somebody/counting")


class Opener:
    """Opens sessions and remembers them."""

    def __init__(self) -> None:
        self.sessions: list[CountingSession] = []
        self.failures = 0

    def __call__(self, spec: LoadSpec) -> CountingSession:
        if self.failures:
            self.failures -= 1
            raise ModelLoadError(spec.model, "the disk is unplugged.")
        self.sessions.append(CountingSession())
        return self.sessions[-1]


@pytest.fixture
def opener() -> Iterator[Opener]:
    unload_models()  # what tests of other modules have left
    made = Opener()
    yield made
    for session in made.sessions:
        session.gate.set()
    unload_models()


def test_nothing_is_opened_before_the_first_request(opener: Opener) -> None:
    SharedModel(SPEC, opener)
    assert not opener.sessions
    assert loaded_models() == []


def test_equal_specs_share_one_session(opener: Opener) -> None:
    first = SharedModel(SPEC, opener)
    second = SharedModel(LoadSpec(task="encoder", model="somebody/counting"), opener)
    assert first.submit(("a", [2])).result(10) == [4]
    assert second.submit(("a", [3])).result(10) == [9]
    assert len(opener.sessions) == 1
    assert loaded_models() == [SPEC]


def test_other_specs_get_sessions_of_their_own(opener: Opener) -> None:
    SharedModel(SPEC, opener).submit(("a", [1])).result(10)
    other = LoadSpec(task="encoder", model="somebody/counting", dtype="bfloat16")
    SharedModel(other, opener).submit(("a", [1])).result(10)
    assert len(opener.sessions) == 2


def test_many_threads_open_one_session(opener: Opener) -> None:
    start = threading.Barrier(8)

    def ask(number: int) -> list[int]:
        start.wait(10)
        return SharedModel(SPEC, opener).submit(("a", [number])).result(10)

    with ThreadPoolExecutor(8) as callers:
        assert list(callers.map(ask, range(8))) == [[n**2] for n in range(8)]
    assert len(opener.sessions) == 1


def test_a_question_reaches_the_session(opener: Opener) -> None:
    asked = SharedModel(SPEC, opener).call(lambda session: session.max_batch_tokens)
    assert asked.result(10) == 10


def test_unloading_closes_and_the_next_call_opens_anew(opener: Opener) -> None:
    model = SharedModel(SPEC, opener)
    model.submit(("a", [1])).result(10)
    unload_models()
    assert opener.sessions[0].closed
    assert loaded_models() == []
    assert model.submit(("a", [2])).result(10) == [4]
    assert len(opener.sessions) == 2


def test_unloading_one_leaves_the_others(opener: Opener) -> None:
    other = LoadSpec(task="classifier", model="somebody/counting")
    SharedModel(SPEC, opener).submit(("a", [1])).result(10)
    SharedModel(other, opener).submit(("a", [1])).result(10)
    unload_models(SPEC)
    assert loaded_models() == [other]
    assert [session.closed for session in opener.sessions] == [True, False]


def test_requests_that_wait_are_answered_before_unloading(opener: Opener) -> None:
    model = SharedModel(SPEC, opener)
    model.call(lambda session: None).result(10)
    session = opener.sessions[0]
    session.gate.clear()
    waiting = [model.submit((name, [3])) for name in "abc"]
    unloading = threading.Thread(target=unload_models)
    unloading.start()
    session.gate.set()
    assert [one.result(10) for one in waiting] == [[9]] * 3
    unloading.join(10)
    assert session.closed


def test_unloading_can_drop_the_requests_that_wait(opener: Opener) -> None:
    model = SharedModel(SPEC, opener)
    model.call(lambda session: None).result(10)
    session = opener.sessions[0]
    session.gate.clear()
    model.submit(("a", [3]))
    assert session.entered.wait(10)
    waiting = model.submit(("b", [3]))
    unloading = threading.Thread(target=lambda: unload_models(drop_waiting=True))
    unloading.start()
    while loaded_models():
        pass
    session.gate.set()
    with pytest.raises(ModelUnloadedError):
        waiting.result(10)
    unloading.join(10)


def test_a_failed_load_is_tried_again_by_the_next_call(opener: Opener) -> None:
    model = SharedModel(SPEC, opener)
    opener.failures = 1
    with pytest.raises(ModelLoadError, match="unplugged"):
        model.submit(("a", [1])).result(10)
    assert model.submit(("a", [2])).result(10) == [4]


def test_a_dead_worker_is_replaced_by_the_next_call(opener: Opener) -> None:
    model = SharedModel(SPEC, opener)
    with pytest.raises(ModelRunError, match="told to end"):
        model.submit(("a", [99])).result(10)
    assert model.submit(("a", [2])).result(10) == [4]
    assert len(opener.sessions) == 2


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_starts_with_an_empty_pool(opener: Opener) -> None:
    SharedModel(SPEC, opener).submit(("a", [1])).result(10)
    child = os.fork()
    if child == 0:
        try:
            empty = loaded_models() == []
            right = SharedModel(SPEC, opener).submit(("a", [3])).result(10) == [9]
            os._exit(0 if empty and right else 1)
        finally:
            os._exit(2)
    assert os.waitpid(child, 0)[1] == 0
    assert loaded_models() == [SPEC]
