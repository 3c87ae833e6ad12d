"""Written summaries of documents longer than the model's window, on tiny real checkpoints."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from langchain_xlm.engines.abstractive import WrittenPiece, WrittenSummary, write_summary
from langchain_xlm.engines.generator import GenerationSettings, Generator
from langchain_xlm.engines.summary_length import SummaryLength
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import loaded_models, unload_models

Checkpoints = Callable[..., Path]

LONG = " ".join(f"Number {n} of the long report says so." for n in range(60))


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    unload_models()


@pytest.fixture
def generator(checkpoints: Checkpoints) -> Generator:
    folder = checkpoints("mbart50", window=64)
    return Generator(LoadSpec("seq2seq", model=str(folder), device="cpu"))


def write(
    generator: Generator,
    text: str,
    *,
    max_sentences: int | None = 1,
    max_words: int | None = None,
    min_new_tokens: int = 4,
    max_new_tokens: int = 6,
    prompt: str = "",
) -> WrittenSummary:
    settings = GenerationSettings(
        num_beams=1, min_new_tokens=min_new_tokens, max_new_tokens=max_new_tokens
    )
    flow = write_summary(
        generator,
        text,
        language="en",
        length=SummaryLength(max_sentences, max_words),
        settings=settings,
        prompt=prompt,
    )
    return run_flow(flow, model="test")


def covers(text: str, pieces: list[WrittenPiece]) -> bool:
    position = 0
    for piece in pieces:
        if text[piece.start : piece.end] != piece.source or text[position : piece.start].strip():
            return False
        position = piece.end
    return not text[position:].strip()


def test_every_part_of_the_document_is_summarized(generator: Generator) -> None:
    written = write(generator, LONG)
    first = [piece for piece in written.pieces if piece.round == 0]
    assert len(first) > 1
    assert covers(LONG, first)
    assert all(piece.summary for piece in first)


def test_summaries_are_summarized_until_one_is_left(generator: Generator) -> None:
    written = write(generator, LONG)
    rounds = {piece.round for piece in written.pieces}
    assert rounds == set(range(len(rounds)))
    for number in sorted(rounds)[1:]:
        before = [piece for piece in written.pieces if piece.round == number - 1]
        now = [piece for piece in written.pieces if piece.round == number]
        # What a round reads is what the round before wrote, whole and in order.
        read = "".join(piece.source for piece in now)
        assert "".join(read.split()) == "".join("".join(p.summary for p in before).split())
    last = [piece for piece in written.pieces if piece.round == max(rounds)]
    assert "".join("".join(p.summary for p in last).split()) == "".join(written.text.split())


def test_it_stops_as_soon_as_the_length_is_right(generator: Generator) -> None:
    long_enough = write(generator, LONG, max_sentences=None, max_words=150)
    assert {piece.round for piece in long_enough.pieces} == {0}
    assert "longer_than_asked" not in long_enough.flags


def test_a_model_that_makes_nothing_shorter(generator: Generator) -> None:
    written = write(
        generator, LONG, max_sentences=None, max_words=5, min_new_tokens=60, max_new_tokens=60
    )
    assert {"not_shrinking", "longer_than_asked"} <= set(written.flags)
    assert {piece.round for piece in written.pieces} == {0}
    assert covers(LONG, list(written.pieces))


def test_a_document_inside_the_window_is_read_at_once(generator: Generator) -> None:
    text = "The bridge is old. It has cracks. A new one is planned."
    written = write(generator, text)
    assert [piece.source for piece in written.pieces] == [text]
    assert written.text == written.pieces[0].summary


def test_a_short_document_comes_back_whole(generator: Generator) -> None:
    written = write(generator, "One sentence.")
    assert written == WrittenSummary("One sentence.", (), ("already_short",))
    assert loaded_models() == []


def test_the_prompt_goes_in_front_of_every_part(checkpoints: Checkpoints) -> None:
    folder = checkpoints("mt5")
    generator = Generator(LoadSpec("seq2seq", model=str(folder), device="cpu", backend="torch"))
    plain = write(generator, LONG, max_new_tokens=12)
    prompted = write(generator, LONG, max_new_tokens=12, prompt="summarize: ")
    # It counts towards the window, is no part of the pieces, and changes what is written.
    assert covers(LONG, [piece for piece in prompted.pieces if piece.round == 0])
    assert [p.summary for p in plain.pieces] != [p.summary for p in prompted.pieces]


def test_a_checkpoint_with_languages_writes_in_that_of_the_document(generator: Generator) -> None:
    """Were the target left open, the checkpoint would write in any language."""
    import langchain_xlm.engines.abstractive as abstractive

    languages = run_flow(abstractive._languages(generator, "de"), model="test")
    assert languages == ("de", "de")
    assert run_flow(abstractive._languages(generator, "xx"), model="test") == (None, None)
