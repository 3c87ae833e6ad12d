from __future__ import annotations

import asyncio
import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_core.vectorstores import InMemoryVectorStore
from pydantic import ValidationError

from langchain_xlm import XLMEmbeddings, loaded_models, unload_models
from langchain_xlm.errors import (
    ConfigurationError,
    IncompatibleModelError,
    ModelNotFoundError,
    RequestTimeoutError,
)

TEXTS = [
    "Where is the station?",
    "Der Zug fährt heute nicht.",
    "今天天气很好。 明天呢？",
    "Kısa bir cümle.",
    "",
    "A somewhat longer text: it has a second clause, and a third one, and it goes on for a while.",
]


@pytest.fixture(autouse=True)
def _unload() -> Iterator[None]:
    yield
    unload_models()


def vectors(embeddings: XLMEmbeddings, texts: list[str] = TEXTS) -> np.ndarray[Any, Any]:
    return np.array(embeddings.embed_documents(texts))


LAYOUTS: dict[str, dict[str, Any]] = {
    "mean": {},
    "cls": {"pooling": "cls"},
    "max-not-normalized": {"pooling": "max", "normalize": False},
    "weighted": {"pooling": "weightedmean"},
    "sqrt-length": {"pooling": "mean_sqrt_len_tokens", "normalize": False},
    "last-token": {"pooling": "lasttoken"},
    "two-modes": {"pooling": ("cls", "mean")},
    "dense": {"dense_width": 16},
    "two-modes-dense": {"pooling": ("max", "mean"), "dense_width": 8, "normalize": False},
    "prompts": {"prompts": {"query": "query: ", "document": "passage: "}},
    "prompts-left-out-of-pooling": {
        "prompts": {"query": "find: ", "document": "text: "},
        "include_prompt": False,
    },
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_vectors_are_those_of_sentence_transformers(
    layout: str, checkpoints: Callable[..., Path]
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = checkpoints("sentence-encoder", **LAYOUTS[layout])
    theirs = SentenceTransformer(str(folder), device="cpu")
    ours = XLMEmbeddings(model=str(folder))
    for mine, expected in [
        (vectors(ours), theirs.encode_document(TEXTS)),
        (np.array([ours.embed_query(text) for text in TEXTS]), theirs.encode_query(TEXTS)),
    ]:
        cosine = (mine * expected).sum(1) / (
            np.linalg.norm(mine, axis=1) * np.linalg.norm(expected, axis=1)
        )
        assert cosine.min() >= 0.99999
        np.testing.assert_allclose(mine, expected, atol=2e-5)


def test_a_folder_without_their_files_is_pooled_as_they_would(
    checkpoints: Callable[..., Path],
) -> None:
    from sentence_transformers import SentenceTransformer

    folder = checkpoints("xlm-roberta")
    expected = SentenceTransformer(str(folder), device="cpu").encode(TEXTS)
    np.testing.assert_allclose(vectors(XLMEmbeddings(model=str(folder))), expected, atol=2e-5)


def test_prompts_never_leak_into_each_other(checkpoints: Callable[..., Path]) -> None:
    prompts = {"query": "query: ", "document": "passage: "}
    folder = checkpoints("sentence-encoder", prompts=prompts)
    embeddings = XLMEmbeddings(model=str(folder))
    plain = XLMEmbeddings(model=str(folder), query_prompt="", document_prompt="")
    text = "the same text"
    np.testing.assert_allclose(
        embeddings.embed_query(text), plain.embed_query("query: " + text), atol=1e-6
    )
    np.testing.assert_allclose(
        embeddings.embed_documents([text]), plain.embed_documents(["passage: " + text]), atol=1e-6
    )
    together = _in_threads(
        [lambda: embeddings.embed_query(text), lambda: embeddings.embed_documents([text])[0]] * 20
    )
    for query, document in zip(together[::2], together[1::2], strict=True):
        np.testing.assert_allclose(query, together[0], atol=1e-5)
        np.testing.assert_allclose(document, together[1], atol=1e-5)
    assert not np.allclose(together[0], together[1], atol=1e-3)


def test_the_callers_prompt_wins(checkpoints: Callable[..., Path]) -> None:
    folder = checkpoints("sentence-encoder", prompts={"query": "query: "})
    mine = XLMEmbeddings(model=str(folder), query_prompt="frage: ")
    none = XLMEmbeddings(model=str(folder), query_prompt="")
    np.testing.assert_allclose(
        mine.embed_query("x y z"), none.embed_query("frage: x y z"), atol=1e-6
    )


def _in_threads(calls: list[Callable[[], Any]]) -> list[Any]:
    with ThreadPoolExecutor(8) as callers:
        return [future.result(60) for future in [callers.submit(call) for call in calls]]


def test_parallel_calls_get_their_own_vectors(checkpoints: Callable[..., Path]) -> None:
    embeddings = XLMEmbeddings(model=str(checkpoints("sentence-encoder")))
    texts = [f"{'many words ' * (number % 9)}number {number}" for number in range(100)]
    alone = vectors(embeddings, texts)
    together = _in_threads([lambda text=text: embeddings.embed_query(text) for text in texts])
    np.testing.assert_allclose(np.array(together), alone, atol=2e-5)


async def test_async_is_sync(checkpoints: Callable[..., Path]) -> None:
    embeddings = XLMEmbeddings(model=str(checkpoints("sentence-encoder")))
    documents = await embeddings.aembed_documents(TEXTS)
    queries = await asyncio.gather(*(embeddings.aembed_query(text) for text in TEXTS))
    unload_models()
    np.testing.assert_allclose(documents, embeddings.embed_documents(TEXTS), atol=2e-5)
    np.testing.assert_allclose(queries, [embeddings.embed_query(text) for text in TEXTS], atol=2e-5)


COLD_START = """
import asyncio, sys, time
from langchain_xlm import XLMEmbeddings

async def main():
    gaps = []

    async def tick():
        last = time.perf_counter()
        while True:
            await asyncio.sleep(0.005)
            now = time.perf_counter()
            gaps.append(now - last)
            last = now

    ticking = asyncio.ensure_future(tick())
    started = time.perf_counter()
    await XLMEmbeddings(model=sys.argv[1]).aembed_query("hello")
    print(len(gaps), max(gaps), time.perf_counter() - started)
    ticking.cancel()

asyncio.run(main())
"""


@pytest.mark.slow
def test_the_first_load_does_not_block_the_event_loop(checkpoints: Callable[..., Path]) -> None:
    folder = checkpoints("sentence-encoder")
    run = subprocess.run(
        [sys.executable, "-c", COLD_START, str(folder)], capture_output=True, text=True, check=True
    )
    ticks, longest_gap_s, elapsed_s = map(float, run.stdout.split())
    # Importing torch holds the interpreter's lock for moments, never for the whole load.
    assert ticks > 20
    assert longest_gap_s < elapsed_s / 2


async def test_cancelling_drops_the_work(checkpoints: Callable[..., Path]) -> None:
    embeddings = XLMEmbeddings(model=str(checkpoints("sentence-encoder")))
    await embeddings.aembed_query("loaded")
    ran: list[float] = []

    def count(session: Any) -> None:
        run = session.run

        def counting(units: Any) -> Any:
            ran.extend(unit.payload.share for unit in units)
            return run(units)

        session.run = counting

    await asyncio.wrap_future(embeddings._encoder._model.call(count))
    bulk = asyncio.ensure_future(embeddings.aembed_documents(["word " * 90] * 3000))
    await asyncio.sleep(0.1)
    bulk.cancel()
    with pytest.raises(asyncio.CancelledError):
        await bulk
    await embeddings.aembed_query("next")
    assert sum(ran) < 1500, "of 3,000 texts and a query"
    assert ran[-1] == 1


def test_a_time_limit_is_kept(checkpoints: Callable[..., Path]) -> None:
    folder = str(checkpoints("sentence-encoder"))
    XLMEmbeddings(model=folder).embed_query("loaded")
    hurried = XLMEmbeddings(model=folder, timeout_s=0.05)
    with pytest.raises(RequestTimeoutError, match=r"within 0\.05 s"):
        hurried.embed_documents(["word " * 90] * 3000)


def test_instances_with_equal_fields_share_one_model(checkpoints: Callable[..., Path]) -> None:
    folder = str(checkpoints("sentence-encoder"))
    XLMEmbeddings(model=folder).embed_query("a")
    XLMEmbeddings(model=folder, query_prompt="q: ", dimensions=4).embed_query("b")
    assert len(loaded_models()) == 1


def test_the_context_manager_unloads(checkpoints: Callable[..., Path]) -> None:
    with XLMEmbeddings(model=str(checkpoints("sentence-encoder"))) as embeddings:
        first = embeddings.embed_query("a")
        assert len(loaded_models()) == 1
    assert loaded_models() == []
    np.testing.assert_allclose(embeddings.embed_query("a"), first, atol=1e-6)


def test_a_vector_store_finds_the_text_itself(checkpoints: Callable[..., Path]) -> None:
    store = InMemoryVectorStore(XLMEmbeddings(model=str(checkpoints("sentence-encoder"))))
    store.add_texts(TEXTS[:4])
    for text in TEXTS[:4]:
        assert store.similarity_search(text, k=1)[0].page_content == text


def test_no_documents_give_no_vectors(checkpoints: Callable[..., Path]) -> None:
    assert XLMEmbeddings(model=str(checkpoints("sentence-encoder"))).embed_documents([]) == []


def test_the_callers_list_is_not_changed(checkpoints: Callable[..., Path]) -> None:
    texts = ["b", "a much longer text than the other", "c"]
    XLMEmbeddings(model=str(checkpoints("sentence-encoder"))).embed_documents(texts)
    assert texts == ["b", "a much longer text than the other", "c"]


def test_progress_is_shown_on_standard_error(
    checkpoints: Callable[..., Path], capfd: pytest.CaptureFixture[str]
) -> None:
    folder = str(checkpoints("sentence-encoder"))
    XLMEmbeddings(model=folder).embed_documents(TEXTS)
    assert "Embedding" not in capfd.readouterr().err
    XLMEmbeddings(model=folder, show_progress=True).embed_documents(TEXTS)
    assert "6.00/6.00" in capfd.readouterr().err


class TestFingerprint:
    def test_it_is_stable_over_unloading(self, checkpoints: Callable[..., Path]) -> None:
        embeddings = XLMEmbeddings(model=str(checkpoints("sentence-encoder")))
        first = embeddings.fingerprint()
        unload_models()
        assert embeddings.fingerprint() == first
        assert len(first) == 64

    @pytest.mark.parametrize(
        "change",
        [
            {"document_prompt": "text: "},
            {"pooling": "cls"},
            {"normalize": False},
            {"dimensions": 8},
            {"overflow": "truncate"},
            {"dtype": "bfloat16"},
            {"quantization": "8bit"},
        ],
        ids=lambda change: next(iter(change)),
    )
    def test_it_changes_with_every_field_that_changes_a_vector(
        self, change: dict[str, Any], checkpoints: Callable[..., Path]
    ) -> None:
        folder = str(checkpoints("sentence-encoder"))
        plain = XLMEmbeddings(model=folder).fingerprint()
        assert XLMEmbeddings(model=folder, **change).fingerprint() != plain

    def test_it_ignores_what_changes_no_vector(self, checkpoints: Callable[..., Path]) -> None:
        folder = str(checkpoints("sentence-encoder"))
        plain = XLMEmbeddings(model=folder).fingerprint()
        other = XLMEmbeddings(model=folder, show_progress=True, timeout_s=90, query_prompt="q: ")
        assert other.fingerprint() == plain

    def test_queries_and_documents_differ_where_their_prompts_do(
        self, checkpoints: Callable[..., Path]
    ) -> None:
        folder = checkpoints("sentence-encoder", prompts={"query": "q: ", "document": "d: "})
        embeddings = XLMEmbeddings(model=str(folder))
        assert embeddings.fingerprint("query") != embeddings.fingerprint("document")
        same = XLMEmbeddings(model=str(checkpoints("sentence-encoder")))
        assert same.fingerprint("query") == same.fingerprint("document")

    def test_it_changes_with_the_weights(self, checkpoints: Callable[..., Path]) -> None:
        one = XLMEmbeddings(model=str(checkpoints("sentence-encoder")))
        other = XLMEmbeddings(model=str(checkpoints("sentence-encoder", seed=1)))
        assert one.fingerprint() != other.fingerprint()

    def test_it_does_not_depend_on_where_the_folder_lies(
        self, checkpoints: Callable[..., Path], tmp_path: Path
    ) -> None:
        folder = checkpoints("sentence-encoder")
        copy = shutil.copytree(folder, tmp_path / "elsewhere")
        assert (
            XLMEmbeddings(model=str(copy)).fingerprint()
            == XLMEmbeddings(model=str(folder)).fingerprint()
        )

    def test_it_changes_with_the_tokenizer(
        self, checkpoints: Callable[..., Path], tmp_path: Path
    ) -> None:
        folder = checkpoints("sentence-encoder")
        copy = shutil.copytree(folder, tmp_path / "elsewhere")
        path = copy / "tokenizer.json"
        described = json.loads(path.read_text())
        pieces = described["model"]["vocab"]
        pieces[20], pieces[21] = pieces[21], pieces[20]
        path.write_text(json.dumps(described))
        assert (
            XLMEmbeddings(model=str(copy)).fingerprint()
            != XLMEmbeddings(model=str(folder)).fingerprint()
        )


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"overflow": "drop"}, "overflow"),
        ({"dimensions": 0}, "dimensions"),
        ({"pooling": "median"}, "pooling"),
        ({"timeout_s": 0}, "timeout_s"),
        ({"modle": "starter"}, "modle"),
        ({"device": "cpu", "device_map": "auto"}, "contradict each other"),
    ],
)
def test_a_wrong_field_is_refused_when_it_is_given(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        XLMEmbeddings(**fields)


def test_more_dimensions_than_the_model_has_are_refused(
    checkpoints: Callable[..., Path],
) -> None:
    with pytest.raises(ConfigurationError, match="have 32"):
        XLMEmbeddings(model=str(checkpoints("sentence-encoder")), dimensions=64).embed_query("x")


def test_fields_cannot_be_changed_behind_the_models_back(
    checkpoints: Callable[..., Path],
) -> None:
    embeddings = XLMEmbeddings(model=str(checkpoints("sentence-encoder")))
    with pytest.raises(ValidationError, match="frozen"):
        embeddings.model = "starter"


def test_a_missing_folder_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelNotFoundError, match="nowhere"):
        XLMEmbeddings(model=str(tmp_path / "nowhere")).embed_query("x")


def test_a_translation_model_is_refused(checkpoints: Callable[..., Path]) -> None:
    with pytest.raises(IncompatibleModelError):
        XLMEmbeddings(model=str(checkpoints("nllb"))).embed_query("x")
