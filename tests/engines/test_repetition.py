from __future__ import annotations

import random

import pytest

from langchain_xlm.engines.repetition import (
    Run,
    echo,
    invented_repetition,
    longest_run,
    longest_times,
)

LOOPS = [
    ("Hello", "the the the the the the"),
    ("He came home.", "and the man and the man and the man"),
    ("Good morning", "今天今天今天今天今天"),
    ("Good morning", "今日は今日は今日は今日は"),
    ("Good morning", "ภาษาไทยภาษาไทยภาษาไทย"),
    ("Good morning", "..................."),
    ("On 12 March 2024 it met.", "Am 20202020202020."),
    ("I do not like coffee.", "トムのコーーーーーーをが好きではない。"),
    ("They decided it.", "看看看看看看看。"),
    ("She sold 12 of them", "1. the house 2. the house 3. the house 4. the house"),
    ("No, no, no!", "no, " * 20),
    (
        "A man saw a dog.",
        "The man and the dog saw the man and the dog, and then the dog and the man saw the dog and"
        " the man and the dog saw the man.",
    ),
]

FAITHFUL = [
    ("ha ha ha ha ha", "ja ja ja ja ja ja"),
    ("哈哈哈哈哈哈哈哈", "ha ha ha ha ha ha ha ha"),
    ("No, no, no, no, no, no!", "Nein, nein, nein, nein, nein, nein!"),
    ("It is a very, very, very long road.", "C'est une très, très, très longue route."),
    (
        "A rose is a rose is a rose is a rose.",
        "Eine Rose ist eine Rose ist eine Rose ist eine Rose.",
    ),
    ("Name: ________________", "Nom : ________________"),
    ("See 1, 2, 3, 4, 5, 6, 7.", "Voir 1, 2, 3, 4, 5, 6, 7."),
    ("1000000000000000000000", "1000000000000000000000"),
    ("It costs 1,000,000,000 yen.", "Es kostet 1.000.000.000 Yen."),
    ("Hahaha!", "哈哈哈哈！"),
    ("It was a long, long way.", "長い長い道のりだった。"),
    ("Everybody is happy.", "大家都高高兴兴的。"),
    ("The weather is nice today.", "Das Wetter ist heute schön."),
    ("The weather is nice today.", "今天天气很好，孩子们在花园里玩。"),
    ("anything", ""),
    ("", "anything"),
]


@pytest.mark.parametrize(("source", "output"), LOOPS)
def test_a_loop_that_the_source_does_not_explain_is_measured(source: str, output: str) -> None:
    assert 0.2 < invented_repetition(source, output) <= 1


@pytest.mark.parametrize(("source", "output"), FAITHFUL)
def test_repetition_of_the_source_may_be_repeated(source: str, output: str) -> None:
    assert invented_repetition(source, output) == 0


def test_more_repetition_is_worse() -> None:
    once = invented_repetition("Hello", "We went to the house house house house house house.")
    whole = invented_repetition("Hello", "house house house house house house")
    assert 0 < once < whole


def test_the_run_that_says_most_again_is_found() -> None:
    assert longest_run("aa the cat the cat the cat") == Run(unit=" the cat", times=3)
    assert longest_run("abc") is None
    assert longest_run("the cat the cat the cat").repeated == 16  # type: ignore[union-attr]


def test_double_letters_are_no_repetition_of_a_source() -> None:
    assert longest_times("hello") == 1
    assert longest_times("hellooo") == 3


def test_echo_is_the_share_said_before() -> None:
    assert echo("abcdefghijkl") == 0
    assert echo("short") == 0
    assert echo("abcdefghijkl " * 20) > 0.9


@pytest.mark.timeout(60)
@pytest.mark.parametrize("text", ["a" * 20_000, "ab " * 7_000, None])
def test_long_outputs_are_quick(text: str | None) -> None:
    if text is None:
        rng = random.Random(0)
        text = "".join(rng.choice("abcdefghijklmnopqrst    ") for _ in range(20_000))
    invented_repetition("source", text)
