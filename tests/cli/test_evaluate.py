from __future__ import annotations

import json

import pytest


@pytest.fixture
def data(tmp_path):
    path = tmp_path / "pairs.tsv"
    path.write_text(
        "Guten Morgen.\tGood morning.\nIch trinke Tee.\tI drink tea.\n\nEs regnet.\tIt rains.\n",
        encoding="utf-8",
    )
    return path


def test_a_table_a_report_and_a_page(command, checkpoints, data, tmp_path):
    output = tmp_path / "report"
    outcome = command(
        "evaluate",
        "translation",
        "--model",
        checkpoints("m2m100"),
        "--data",
        data,
        "--source-language",
        "de",
        "--target-language",
        "en",
        "--similarity-model",
        "none",
        "--quantization",
        "none",
        "--quantization",
        "8bit",
        "--resamples",
        20,
        "--no-cost",
        "--output",
        output,
    )
    assert outcome.code == 0, outcome.err
    for words in (
        "chrF++ ↑",
        "BLEU ↑",
        "TER ↓",
        "8bit",
        "source copied",
        "Differences",
        "3 examples of 4 rows; 1 left out: blank line",
    ):
        assert words in outcome.out
    assert "report.html" in outcome.err
    report = json.loads((output / "report.json").read_text("utf-8"))
    assert report["systems"][0]["precision"] == "none"
    assert report["systems"][1]["precision"] == "8bit"
    assert report["data"]["rows"] == 4
    assert (output / "report.html").exists()


def test_groups_and_a_sample(command, checkpoints, tmp_path):
    for name in ("a.de", "a.en"):
        lines = "".join(f"{name} text {n}\n" for n in range(12))
        (tmp_path / name).write_text(lines, encoding="utf-8")
    output = tmp_path / "report"
    outcome = command(
        "evaluate",
        "embeddings",
        "-m",
        checkpoints("sentence-encoder"),
        "-d",
        f"german={tmp_path / 'a.de'}",
        "-d",
        tmp_path / "a.en",
        "-d",
        f"other={tmp_path / 'a.en'}",
        "-d",
        tmp_path / "a.de",
        "--limit",
        5,
        "--seed",
        1,
        "--resamples",
        0,
        "--no-cost",
        "--examples",
        0,
        "-o",
        output,
    )
    assert outcome.code == 0, outcome.err
    report = json.loads((output / "report.json").read_text("utf-8"))
    groups = report["systems"][0]["groups"]
    assert [(each["group"], each["examples"]) for each in groups] == [("german", 5), ("other", 5)]
    assert "text 1" not in (output / "report.json").read_text("utf-8")


@pytest.mark.parametrize(
    ("arguments", "code", "message"),
    [
        (("translation", "--data", "PAIRS"), 2, "--source-language"),
        (("translation", "--data", "PAIRS", "--from", "de", "--to", "de"), 1, "are one language"),
        (("sentiment", "--data", "PAIRS", "--quantization", "3bit"), 1, "'3bit' is unknown"),
        (("sentiment", "--data", "PAIRS", "--label", "0"), 2, "NAME=VALUE"),
        (("embeddings", "--data", "PAIRS", "--kind", "retrieval"), 2, "--corpus"),
        (
            ("embeddings", "--data", "PAIRS", "--column", "score=9", "--kind", "sts"),
            1,
            "pairs.tsv:1: no column '9'",
        ),
        (("embeddings", "--data", "missing.tsv"), 1, "missing.tsv: No such file"),
        (("embeddings", "--data", "lonely.de"), 1, "lonely.de is text without columns"),
        (("chess", "--data", "PAIRS"), 2, "chess"),
    ],
)
def test_misuse_is_named(command, data, tmp_path, arguments, code, message):
    given = [data if each == "PAIRS" else each for each in arguments]
    outcome = command("evaluate", *given, "--output", tmp_path / "report")
    assert outcome.code == code
    assert message in outcome.err
    assert "Traceback" not in outcome.err
