"""Classification of short and long texts on tiny real checkpoints."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from langchain_xlm.engines.classifier import ClassifiedText, Classifier, pool_scores
from langchain_xlm.errors import IncompatibleModelError, InputError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import Flow, run_flow
from langchain_xlm.runtime.pool import unload_models

T = TypeVar("T")
Checkpoints = Callable[..., Path]

TEXTS = [
    "Ich liebe dieses Restaurant.",
    "The food was cold and the waiter was rude!",
    "今天天气很好。",
    "ok",
    "😀😀😀",
    "A </s> in the text <s> is text.",
]


def run(flow: Flow[T]) -> T:
    return run_flow(flow, model="test")


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    unload_models()


@pytest.fixture
def folder(checkpoints: Checkpoints) -> Path:
    return checkpoints("xlm-roberta-classifier")


def classifier_of(folder: Path) -> Classifier:
    return Classifier(LoadSpec("classifier", model=str(folder), device="cpu"))


def classify(folder: Path, texts: list[str]) -> list[ClassifiedText]:
    return run(classifier_of(folder).classify(texts))


def changed(folder: Path, copy: Path, **settings: object) -> Path:
    """Copy a checkpoint with other settings in its config.json."""
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text("utf-8"))
    (copy / "config.json").write_text(json.dumps(config | settings), "utf-8")
    return copy


def renamed(folder: Path, copy: Path, *names: str) -> Path:
    labels = {str(place): name for place, name in enumerate(names)}
    return changed(
        folder, copy, id2label=labels, label2id={name: int(n) for n, name in labels.items()}
    )


@pytest.mark.parametrize("kind", ["xlm-roberta-classifier", "xlm-classifier"])
def test_scores_are_those_of_transformers(checkpoints: Checkpoints, kind: str) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    folder = checkpoints(kind)
    model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
    tokenizer = AutoTokenizer.from_pretrained(folder)
    for text, ours in zip(TEXTS[:4], classify(folder, TEXTS[:4]), strict=True):
        with torch.no_grad():
            logits = model(input_ids=tokenizer(text, return_tensors="pt").input_ids).logits
        expected = dict(
            zip(model.config.id2label.values(), logits.softmax(-1)[0].tolist(), strict=True)
        )
        assert ours.scores == pytest.approx(expected, abs=1e-5)


def test_a_text_alone_equals_itself_in_any_batch(folder: Path) -> None:
    long = "A sentence of some length. " * 60
    together = classify(folder, [*TEXTS, long, *TEXTS])
    for text, among in zip([*TEXTS, long, *TEXTS], together, strict=True):
        (alone,) = classify(folder, [text])
        assert alone.scores == pytest.approx(among.scores, abs=1e-5)
        assert [p.text for p in alone.pieces] == [p.text for p in among.pieces]


def test_texts_differ_and_keep_their_order(folder: Path) -> None:
    forward = classify(folder, TEXTS)
    backward = classify(folder, TEXTS[::-1])
    for one, other in zip(forward, backward[::-1], strict=True):
        assert one.scores == pytest.approx(other.scores, abs=1e-5)
    assert len({tuple(round(s, 4) for s in c.scores.values()) for c in forward}) == len(TEXTS)


def test_scores_sum_to_one(folder: Path) -> None:
    for classified in classify(folder, [*TEXTS, "word " * 1000]):
        assert sum(classified.scores.values()) == pytest.approx(1.0, abs=1e-5)


def test_a_text_inside_the_window_is_one_piece(folder: Path) -> None:
    (classified,) = classify(folder, ["  Good.\n\nBad.  "])
    (piece,) = classified.pieces
    assert piece.text == "  Good.\n\nBad.  "
    assert (piece.start, piece.end) == (0, len(piece.text))
    assert classified.scores == piece.scores


def test_nothing_of_a_long_text_is_lost(folder: Path) -> None:
    text = " ".join(f"Number {n} is good." for n in range(500))
    (classified,) = classify(folder, [text])
    assert len(classified.pieces) > 10
    position = 0
    for piece in classified.pieces:
        assert text[piece.start : piece.end] == piece.text
        assert text[position : piece.start].strip() == ""
        position = piece.end
        assert piece.text.endswith(".")  # cut between sentences
    assert text[position:].strip() == ""
    # A window of 128 holds 126 tokens of text.
    assert max(piece.tokens for piece in classified.pieces) <= 126


def test_the_spelling_of_a_special_token_is_text(folder: Path) -> None:
    (classified,) = classify(folder, ["</s>"])
    assert classified.pieces[0].tokens > 1  # as the token that ends a text it would be one


def test_pieces_are_pooled_by_tokens(folder: Path) -> None:
    text = "Short. " * 50 + "\n" + "Another one with rather more words in it, and bad. " * 20
    (classified,) = classify(folder, [text])
    total = sum(piece.tokens for piece in classified.pieces)
    for label, score in classified.scores.items():
        mean = sum(p.tokens * p.scores[label] for p in classified.pieces) / total
        assert score == pytest.approx(mean)
    # The weights matter here: the plain mean is another.
    plain = sum(p.scores["negative"] for p in classified.pieces) / len(classified.pieces)
    assert classified.scores["negative"] != pytest.approx(plain, abs=1e-6)
    assert pool_scores(classified.pieces) == classified.scores


def test_each_piece_scores_as_it_does_alone(folder: Path) -> None:
    (classified,) = classify(folder, ["This is fine. " * 100])
    piece = classified.pieces[1]
    (alone,) = classify(folder, [piece.text])
    assert alone.scores == pytest.approx(piece.scores, abs=1e-5)


@pytest.mark.slow
def test_a_megabyte_without_a_space(folder: Path) -> None:
    text = "x" * 1_000_000
    (classified,) = classify(folder, [text])
    assert "".join(piece.text for piece in classified.pieces) == text


def test_long_text_without_spaces(folder: Path) -> None:
    text = "很" * 5_000
    (classified,) = classify(folder, [text])
    assert "".join(piece.text for piece in classified.pieces) == text


@pytest.mark.parametrize("text", ["", "  \n", None, 5, b"bytes", "half \ud83d"])
def test_bad_texts_are_refused(folder: Path, text: object) -> None:
    with pytest.raises(InputError):
        classify(folder, ["good", text])  # type: ignore[list-item]


def test_no_texts(folder: Path) -> None:
    assert classify(folder, []) == []


def test_info(folder: Path) -> None:
    info = run(classifier_of(folder).info())
    assert info.labels == ("negative", "neutral", "positive")
    assert info.multi_label is False
    assert info.revision is None


def test_multi_label_scores_each_label_by_itself(folder: Path, tmp_path: Path) -> None:
    import torch
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    copy = changed(folder, tmp_path / "copy", problem_type="multi_label_classification")
    assert run(classifier_of(copy).info()).multi_label
    (classified,) = classify(copy, ["good"])
    model = AutoModelForSequenceClassification.from_pretrained(copy).eval()
    ids = AutoTokenizer.from_pretrained(copy)("good", return_tensors="pt").input_ids
    with torch.no_grad():
        expected = model(input_ids=ids).logits.sigmoid()[0].tolist()
    assert list(classified.scores.values()) == pytest.approx(expected, abs=1e-5)


def test_a_head_with_one_output_is_refused(checkpoints: Checkpoints) -> None:
    folder = checkpoints("xlm-roberta-cross-encoder")
    with pytest.raises(IncompatibleModelError, match="classifier") as caught:
        classify(folder, ["good"])
    assert caught.value.model == str(folder)


def test_a_model_that_compares_texts_is_refused(folder: Path, tmp_path: Path) -> None:
    copy = renamed(folder, tmp_path / "copy", "ENTAILMENT", "neutral", "contradiction")
    with pytest.raises(IncompatibleModelError, match="compares two texts"):
        classify(copy, ["good"])


@pytest.mark.parametrize("kind", ["xlm-roberta", "nllb"])
def test_a_checkpoint_without_a_classification_head(checkpoints: Checkpoints, kind: str) -> None:
    with pytest.raises(IncompatibleModelError):
        classify(checkpoints(kind), ["good"])
