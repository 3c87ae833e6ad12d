"""Extractive summaries: what is chosen, what comes back whole, how sentences are joined."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from langchain_xlm.engines.encoder import Encoder
from langchain_xlm.engines.extractive import (
    Extract,
    document_sentences,
    extract_summary,
    favour_beginning,
    join_sentences,
    unit_length,
)
from langchain_xlm.engines.summary_length import SummaryLength
from langchain_xlm.errors import InputError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import loaded_models, unload_models
from langchain_xlm.text.words import count_words

Checkpoints = Callable[..., Path]

ARTICLE = (
    "The city council met on Monday. It decided to build a new bridge over the river.\n\n"
    "The old bridge is a hundred years old and has cracks in three pillars. Experts had warned"
    " of its condition for years. The new bridge will cost twelve million and open in two years."
    " Until then lorries must take another road."
)


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    unload_models()


@pytest.fixture
def encoder(checkpoints: Checkpoints) -> Encoder:
    return Encoder(LoadSpec("encoder", model=str(checkpoints("sentence-encoder")), device="cpu"))


def extract(
    encoder: Encoder,
    text: str,
    *,
    language: str | None = "en",
    max_sentences: int | None = None,
    max_words: int | None = None,
) -> Extract:
    length = SummaryLength(max_sentences, max_words)
    return run_flow(extract_summary(encoder, text, language=language, length=length), model="test")


def test_sentences_of_the_document_in_its_order(encoder: Encoder) -> None:
    sentences = [segment.text for segment in document_sentences(ARTICLE, "en")]
    found = extract(encoder, ARTICLE, max_sentences=3)
    assert len(found.sentences) == 3
    assert list(found.indices) == sorted(set(found.indices))
    assert [sentences[index] for index in found.indices] == list(found.sentences)
    assert all(sentence in found.text for sentence in found.sentences)
    assert found.flags == ()
    assert found.ranked


def test_it_is_repeatable(encoder: Encoder) -> None:
    assert extract(encoder, ARTICLE, max_sentences=2) == extract(encoder, ARTICLE, max_sentences=2)


def test_the_topic_of_most_sentences_is_represented(encoder: Encoder) -> None:
    """Six sentences alike and one apart: a summary of one sentence is one of the six."""
    alike = [f"The bridge over the river costs {n} million." for n in range(2, 8)]
    text = " ".join(["Bees!? Zzz zzz zzz zzz.", *alike])
    assert extract(encoder, text, max_sentences=1).sentences[0] in alike


def test_a_short_document_comes_back_whole_and_loads_nothing(encoder: Encoder) -> None:
    found = extract(encoder, f"  {ARTICLE}\n", max_sentences=6)
    assert found.text == f"  {ARTICLE}\n"
    assert found.flags == ("already_short",)
    assert found.indices == tuple(range(6))
    assert not found.ranked
    assert loaded_models() == []


@pytest.mark.parametrize("max_words", [5, 12, 25, 40])
def test_words_are_a_limit(encoder: Encoder, max_words: int) -> None:
    found = extract(encoder, ARTICLE, max_words=max_words)
    if "longer_than_asked" in found.flags:
        assert len(found.sentences) == 1
        assert min(count_words(s.text) for s in document_sentences(ARTICLE, "en")) > max_words
    else:
        assert 0 < sum(map(count_words, found.sentences)) <= max_words


def test_both_limits_hold(encoder: Encoder) -> None:
    found = extract(encoder, ARTICLE, max_sentences=2, max_words=100)
    assert len(found.sentences) == 2
    found = extract(encoder, ARTICLE, max_sentences=5, max_words=20)
    assert sum(map(count_words, found.sentences)) <= 20


def test_repeated_sentences_count_once(encoder: Encoder) -> None:
    found = extract(encoder, "It rains today. " * 1000, max_sentences=3)
    assert found.text == "It rains today."
    assert found.flags == ("repetitions_left_out",)
    assert loaded_models() == []
    twice = extract(encoder, f"{ARTICLE} {ARTICLE}", max_sentences=4)
    assert len(set(twice.sentences)) == 4
    assert max(twice.indices) < 6  # the first occurrence stands for all


def test_two_equal_sentences(encoder: Encoder) -> None:
    found = extract(encoder, "Same thing here. Same thing here.", max_sentences=1)
    assert found.text == "Same thing here."


@pytest.mark.parametrize("text", ["One sentence alone", "😀", "1234", "word"])
def test_one_sentence(encoder: Encoder, text: str) -> None:
    assert extract(encoder, text, max_sentences=1).text == text


def test_headings_do_not_stand_for_a_document(encoder: Encoder) -> None:
    text = "Bridge\n\n" + ARTICLE.replace("\n\n", "\n\nRiver\n\n")
    for count in (1, 2, 3, 4):
        chosen = extract(encoder, text, max_sentences=count).sentences
        assert not {"Bridge", "River"} & set(chosen)
    only_headings = extract(encoder, "Bridge\nRiver\nCity\nCouncil", max_sentences=2)
    assert len(only_headings.sentences) == 2


def test_hundreds_of_sentences(encoder: Encoder) -> None:
    text = " ".join(f"Number {n} of the long report says so." for n in range(400))
    found = extract(encoder, text, max_sentences=5)
    assert len(found.sentences) == 5
    assert list(found.indices) == sorted(found.indices)


def test_a_text_without_full_stops_has_parts_to_choose_from(encoder: Encoder) -> None:
    text = " ".join(f"word{n}" for n in range(2000))
    found = extract(encoder, text, max_sentences=2)
    assert len(found.sentences) == 2
    assert len(found.text) < len(text) / 5


def test_a_long_text_without_a_space(encoder: Encoder) -> None:
    found = extract(encoder, "".join(chr(97 + n * n % 26) for n in range(30_000)), max_sentences=1)
    assert 0 < len(found.text) < 6_000


def test_chinese_is_joined_without_spaces(encoder: Encoder) -> None:
    text = "今天的天气非常好。我们全家去公园散步。孩子们在草地上玩球。妈妈准备了很多好吃的东西。"
    found = extract(encoder, text, language="zh-Hans", max_sentences=2)
    assert len(found.sentences) == 2
    assert found.text == "".join(found.sentences)
    assert extract(encoder, text, language="zh-Hans", max_words=14).sentences


def test_joining() -> None:
    text = "Title\n\nOne is here.  Two is here. Three is here."
    segments = document_sentences(text, "en")
    assert join_sentences(text, segments, [1, 2], "en") == "One is here.  Two is here."
    assert join_sentences(text, segments, [1, 3], "en") == "One is here. Three is here."
    assert join_sentences(text, segments, [0, 2], "en") == "Title\nTwo is here."
    assert join_sentences(text, segments, [0, 1], None) == "Title\n\nOne is here."


def test_the_beginning_has_a_small_advantage() -> None:
    even = np.full(4, 0.25)
    favoured = favour_beginning(even, [0, 1, 2, 7], count=8)
    assert list(favoured) == sorted(favoured, reverse=True)
    np.testing.assert_allclose(favoured / even, [1.25, 1.21875, 1.1875, 1.03125])
    # A clearly more central sentence wins from anywhere.
    assert favour_beginning(np.array([0.2, 0.3]), [0, 7], count=8).argmax() == 1


def test_unit_length() -> None:
    vectors = np.array([[3.0, 4.0], [0.0, 0.0]], dtype=np.float32)
    np.testing.assert_allclose(unit_length(vectors), [[0.6, 0.8], [0.0, 0.0]])


@pytest.mark.parametrize("limits", [{}, {"max_sentences": 0}, {"max_words": -1}])
def test_lengths_that_leave_nothing(limits: dict[str, int]) -> None:
    with pytest.raises(InputError):
        SummaryLength(**limits)
