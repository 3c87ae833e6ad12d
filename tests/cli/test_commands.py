"""The commands on tiny checkpoints: what goes in, what comes out, what is refused."""

from __future__ import annotations

import json

import pytest


@pytest.fixture(scope="session")
def translator(checkpoints):
    return checkpoints("m2m100")


@pytest.fixture(scope="session")
def classifier(checkpoints):
    return checkpoints("xlm-roberta-classifier")


@pytest.fixture(scope="session")
def encoder(checkpoints):
    return checkpoints("sentence-encoder")


def json_lines(out):
    return [json.loads(line) for line in out.splitlines()]


def test_translate_writes_the_translation_alone(command, translator):
    whole = command("translate", "Good morning.", "--to", "fr", "--model", translator, "--json")
    bare = command("translate", "Good morning.", "--to", "French", "--model", translator)
    assert whole.code == bare.code == 0
    (result,) = json_lines(whole.out)
    assert result["origin"] == "argument 1"
    assert result["target_language"] == "fr"
    assert bare.out == result["text"] + "\n"


def test_several_targets_stand_before_their_translations(command, translator):
    outcome = command(
        "translate", "Good morning.", "--from", "en", "--to", "fr", "--to", "de",
        "--model", translator,
    )  # fmt: skip
    assert [line.partition(":")[0] for line in outcome.out.splitlines()] == ["fr", "de"]


def test_the_source_can_be_named(command, translator):
    outcome = command(
        "translate", "Radio", "--from", "German", "--to", "fr", "--model", translator, "--json"
    )
    (result,) = json_lines(outcome.out)
    assert result["source_language"] == "de"
    assert result["detected"] is None


def test_lines_stay_aligned(command, translator, tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("Good morning.\n\nGood night.\n", encoding="utf-8")
    outcome = command(
        "translate", "--file", path, "--lines", "--from", "en", "--to", "fr", "--model", translator
    )
    first, empty, last = outcome.out.split("\n")[:3]
    assert outcome.out.count("\n") == 3
    assert (bool(first), empty, bool(last)) == (True, "", True)
    whole = command(
        "translate", "--file", path, "--lines", "--from", "en", "--to", "fr", "--model", translator,
        "--json",
    )  # fmt: skip
    assert [each["origin"] for each in json_lines(whole.out)] == [f"{path}:1", f"{path}:3"]


def test_standard_input_is_one_text(command, translator):
    outcome = command(
        "translate", "--from", "en", "--to", "fr", "--model", translator, "--json",
        stdin=b"One.\n\nTwo.\n",
    )  # fmt: skip
    (result,) = json_lines(outcome.out)
    assert result["origin"] == "standard input"
    assert [piece["source"] for piece in result["pieces"]] == ["One.", "Two."]


def test_a_misspelt_language_is_one_sentence(command, translator):
    outcome = command("translate", "Hello.", "--to", "Frnech", "--model", translator)
    assert outcome.code == 1
    assert outcome.out == ""
    assert "Frnech" in outcome.err
    assert "French" in outcome.err
    assert "Traceback" not in outcome.err


def test_a_blank_text_is_named_by_its_origin(command, translator, tmp_path):
    path = tmp_path / "blank.txt"
    path.write_text(" \n ", encoding="utf-8")
    outcome = command(
        "translate", "Hello.", "--file", path, "--from", "en", "--to", "fr", "--model", translator
    )
    assert outcome.code == 1
    assert str(path) in outcome.err
    assert outcome.out.count("\n") == 1, "the text before it is translated all the same"


def test_a_missing_model_is_one_sentence(command, tmp_path):
    outcome = command("translate", "Hello.", "--to", "fr", "--model", f"{tmp_path}/none")
    assert outcome.code == 1
    assert f"{tmp_path}/none" in outcome.err
    assert outcome.err.count("\n") == 1


def test_a_wrong_loading_option_is_misuse(command):
    outcome = command("translate", "Hello.", "--to", "fr", "--dtype", "float99")
    assert outcome.code == 2
    assert "float99" in outcome.err
    both = command("translate", "Hi.", "--to", "fr", "--device", "cpu", "--device-map", "auto")
    assert both.code == 2
    assert "contradict" in both.err
    memory = command("translate", "Hi.", "--to", "fr", "--max-memory", "lots")
    assert memory.code == 2
    assert "0=6GiB,cpu=20GiB" in memory.err


def test_sentiment_writes_label_score_and_origin(command, classifier):
    outcome = command("sentiment", "Fine.", "Bad.", "--model", classifier)
    rows = [line.split("\t") for line in outcome.out.splitlines()]
    assert [row[2] for row in rows] == ["argument 1", "argument 2"]
    whole = json_lines(command("sentiment", "Fine.", "Bad.", "--model", classifier, "--json").out)
    for (label, score, _), result in zip(rows, whole, strict=True):
        assert label == result["label"]
        assert float(score) == pytest.approx(max(result["scores"].values()), abs=0.005)


def test_more_texts_than_are_asked_at_once_keep_their_order(command, classifier, tmp_path):
    path = tmp_path / "many.txt"
    path.write_text("".join(f"Text number {n}.\n" for n in range(70)), encoding="utf-8")
    outcome = command("sentiment", "--file", path, "--lines", "--model", classifier)
    assert [line.split("\t")[2] for line in outcome.out.splitlines()] == [
        f"{path}:{n}" for n in range(1, 71)
    ]


def test_summarize_shortens(command, encoder):
    text = " ".join(f"Sentence number {n} is about cats." for n in range(8))
    outcome = command("summarize", text, "--sentences", "2", "--model", encoder)
    assert outcome.code == 0
    assert outcome.out.count("Sentence number") == 2
    (result,) = json_lines(command("summarize", text, "-n", "2", "--model", encoder, "--json").out)
    assert result["strategy"] == "extractive"
    assert outcome.out == result["text"] + "\n"


def test_summaries_of_several_texts_are_apart(command, encoder):
    outcome = command(
        "summarize", "One cat. Two cats.", "A dog. Dogs.", "-n", "1", "--model", encoder
    )
    assert len(outcome.out.split("\n\n")) == 2


def test_languages_lists_codes_and_names(command, translator):
    rows = [
        line.split("\t") for line in command("languages", "--model", translator).out.splitlines()
    ]
    assert ["fr", "French"] in rows
    whole = json_lines(command("languages", "--model", translator, "--json").out)
    assert [[each["language"], each["name"]] for each in whole] == rows


def test_languages_of_a_model_that_names_none(command, checkpoints):
    outcome = command("languages", "--model", checkpoints("mt5"))
    assert outcome.code == 0
    assert outcome.out == ""
    assert "does not say" in outcome.err
