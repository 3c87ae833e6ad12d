"""`langchain-xlm embed`: files in, vectors out, stopped and taken up again."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import numpy as np
import pytest

from langchain_xlm import XLMEmbeddings

LINES = [
    f"Sentence {n} tells of {'cats' if n % 2 else 'dogs'} and of {n * 7} fish." for n in range(400)
]


@pytest.fixture(scope="session")
def encoder(checkpoints):
    return checkpoints("sentence-encoder")


@pytest.fixture
def lines(tmp_path):
    path = tmp_path / "lines.txt"
    path.write_text("\n".join(LINES), encoding="utf-8")
    return path


def vectors_in(path):
    rows = [json.loads(line) for line in path.read_text("utf-8").splitlines()]
    return np.array([row["vector"] for row in rows]), rows


def test_each_line_gets_the_vector_of_the_embeddings(command, encoder, tmp_path):
    source, output = tmp_path / "three.txt", tmp_path / "three.jsonl"
    source.write_text("First.\n\n  \nThird line.\n", encoding="utf-8")
    outcome = command("embed", source, "--output", output, "--model", encoder)
    assert outcome.code == 0
    assert outcome.err == f"langchain-xlm: 2 vectors in {output}\n"
    vectors, rows = vectors_in(output)
    assert [(row["origin"], row["text"]) for row in rows] == [
        (f"{source}:1", "First."),
        (f"{source}:4", "Third line."),
    ]
    embeddings = XLMEmbeddings(model=str(encoder))
    expected = embeddings.embed_documents(["First.", "Third line."])
    np.testing.assert_allclose(vectors, expected, atol=1e-6)
    assert {row["fingerprint"] for row in rows} == {embeddings.fingerprint()}


def test_parquet_has_a_fixed_width_column(command, encoder, lines, tmp_path):
    from pyarrow import parquet

    output = tmp_path / "vectors.parquet"
    command("embed", lines, "--output", output, "--model", encoder)
    table = parquet.read_table(output)
    assert table.num_rows == len(LINES)
    assert table.schema.field("vector").type.list_size == 32


def test_queries_get_the_prompt_of_queries(command, checkpoints, tmp_path):
    model = checkpoints("sentence-encoder", prompts={"query": "query: ", "document": "passage: "})
    source, output = tmp_path / "q.txt", tmp_path / "q.jsonl"
    source.write_text("Where is the cat?\n", encoding="utf-8")
    command("embed", source, "--output", output, "--as", "query", "--model", model)
    vectors, _ = vectors_in(output)
    embeddings = XLMEmbeddings(model=str(model))
    np.testing.assert_allclose(vectors[0], embeddings.embed_query("Where is the cat?"), atol=1e-6)
    assert not np.allclose(vectors[0], embeddings.embed_documents(["Where is the cat?"])[0])


def test_json_lines_in_with_a_field(command, encoder, tmp_path):
    source, output = tmp_path / "in.jsonl", tmp_path / "out.jsonl"
    source.write_text('{"id": 1, "body": "One."}\n{"id": 2, "body": "Two."}\n', encoding="utf-8")
    command("embed", source, "-o", output, "--field", "body", "--model", encoder)
    assert [row["text"] for row in vectors_in(output)[1]] == ["One.", "Two."]


@pytest.mark.parametrize("line", ["not JSON", '{"other": "x"}', '["text"]', '{"text": 5}'])
def test_json_lines_without_the_field_are_named(command, encoder, tmp_path, line):
    source = tmp_path / "in.jsonl"
    source.write_text(f'{{"text": "Fine."}}\n{line}\n', encoding="utf-8")
    outcome = command("embed", source, "-o", tmp_path / "out.jsonl", "--model", encoder)
    assert outcome.code == 1
    assert f"{source}:2" in outcome.err


def test_a_whole_file_is_one_text(command, encoder, tmp_path):
    source, output = tmp_path / "a.txt", tmp_path / "out.jsonl"
    source.write_text("One.\nTwo.\n", encoding="utf-8")
    command("embed", source, "-o", output, "--whole", "--model", encoder)
    assert [row["text"] for row in vectors_in(output)[1]] == ["One.\nTwo.\n"]


def test_a_text_that_breaks_the_batch_is_named(command, encoder, tmp_path):
    source, output = tmp_path / "bad.txt", tmp_path / "out.jsonl"
    source.write_text("Fine.\n" + "long " * 500 + "\nFine too.\n", encoding="utf-8")
    outcome = command("embed", source, "-o", output, "--overflow", "error", "--model", encoder)
    assert outcome.code == 1
    assert f"{source}:2" in outcome.err
    assert not output.exists()


def test_standard_input(command, encoder, tmp_path):
    output = tmp_path / "out.jsonl"
    command("embed", "-", "-o", output, "--model", encoder, stdin=b"One.\nTwo.\n")
    assert [row["origin"] for row in vectors_in(output)[1]] == [
        "standard input:1",
        "standard input:2",
    ]


def start(*arguments):
    """A process that writes a part after each batch, so that it can be killed between two."""
    program = (
        "import sys\n"
        "from langchain_xlm.cli import embed, main\n"
        "embed.SECONDS_PER_PART = 0\n"
        "main.main(sys.argv[1:])\n"
    )
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=os.environ | {"HF_HUB_OFFLINE": "1"},
        stderr=subprocess.PIPE,
    )


def stop_after_parts(process, journal, sent):
    limit = time.monotonic() + 240
    while not (journal.exists() and journal.read_bytes().count(b"\n") >= 2):
        assert process.poll() is None, process.stderr.read().decode()
        assert time.monotonic() < limit
        time.sleep(0.005)
    process.send_signal(sent)
    errors = process.communicate()[1].decode()
    return process.returncode, errors


@pytest.mark.parametrize(("sent", "code"), [(signal.SIGKILL, -9), (signal.SIGINT, 130)])
def test_a_stopped_job_goes_on_where_it_was(command, encoder, lines, tmp_path, sent, code):
    output, journal = tmp_path / "v.jsonl", tmp_path / "v.jsonl.parts" / "journal.jsonl"
    arguments = ("embed", lines, "-o", output, "--model", encoder, "--batch-size", "2")
    ended, errors = stop_after_parts(start(*arguments), journal, sent)
    assert ended == code
    assert "Traceback" not in errors
    if sent == signal.SIGINT:
        assert "are kept in" in errors
    kept = sum(json.loads(line)["rows"] for line in journal.read_text().splitlines())
    assert 0 < kept < len(LINES)
    assert not output.exists()

    outcome = command(*arguments)
    assert f"going on after {kept} texts" in outcome.err
    vectors, rows = vectors_in(output)
    assert [row["text"] for row in rows] == LINES
    expected = XLMEmbeddings(model=str(encoder)).embed_documents(LINES)
    np.testing.assert_allclose(vectors, expected, atol=1e-5)


@pytest.fixture
def half_done(command, encoder, lines, tmp_path, monkeypatch):
    """A job that failed in the middle, at a text that is too long for the model."""
    monkeypatch.setattr("langchain_xlm.cli.embed.SECONDS_PER_PART", 0)
    output = tmp_path / "v.jsonl"
    broken = [*LINES[:20], "long " * 500, *LINES[21:]]
    lines.write_text("\n".join(broken), encoding="utf-8")
    arguments = ("embed", lines, "-o", output, "--batch-size", "8", "--overflow", "error")
    assert command(*arguments, "--model", encoder).code == 1
    return arguments


def test_a_job_goes_on_after_its_text_was_mended(command, encoder, lines, half_done, tmp_path):
    lines.write_text("\n".join(LINES), encoding="utf-8")
    outcome = command(*half_done, "--model", encoder)
    assert outcome.code == 0
    assert "going on after 16 texts" in outcome.err
    assert [row["text"] for row in vectors_in(tmp_path / "v.jsonl")[1]] == LINES


def test_texts_that_changed_before_the_stop_are_refused(command, encoder, lines, half_done):
    lines.write_text("\n".join(["Something else.", *LINES[1:]]), encoding="utf-8")
    outcome = command(*half_done, "--model", encoder)
    assert outcome.code == 1
    assert "rows 1 to 8 differ" in outcome.err


def test_vectors_of_another_model_are_refused(command, checkpoints, half_done):
    other = checkpoints("sentence-encoder", seed=1)
    outcome = command(*half_done, "--model", other)
    assert outcome.code == 1
    assert "must not be mixed" in outcome.err


def test_a_finished_output_is_not_overwritten(command, encoder, lines, tmp_path):
    output = tmp_path / "v.jsonl"
    output.write_text("kept")
    outcome = command("embed", lines, "-o", output, "--model", encoder)
    assert outcome.code == 1
    assert "--overwrite" in outcome.err
    assert output.read_text() == "kept"
