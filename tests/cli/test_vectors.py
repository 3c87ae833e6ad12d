from __future__ import annotations

import json

import pytest

from langchain_xlm.cli.rows import Row, format_for
from langchain_xlm.cli.vectors import Identity, PartFolder, digest
from langchain_xlm.errors import InputError, MissingDependencyError

MODEL = Identity(model="a/model", fingerprint="0123")
ROWS = [Row(f"texts.txt:{n}", f"text {n} 你好", [n / 7, -n / 3, 1e-8 * n]) for n in range(1, 6)]


@pytest.fixture(params=["jsonl", "parquet"])
def output(request, tmp_path):
    return tmp_path / f"vectors.{request.param}"


def read(output):
    if output.suffix == ".jsonl":
        return [json.loads(line) for line in output.read_text("utf-8").splitlines()]
    from pyarrow import parquet

    return parquet.read_table(output).to_pylist()


@pytest.fixture
def start(output):
    folders = []

    def open_folder(identity=MODEL, *, overwrite=False):
        folder = PartFolder(output, identity, format_for(output))
        folders.append(folder)
        try:
            return folder, folder.open(overwrite=overwrite)
        except InputError:
            stop(folder)
            raise

    yield open_folder
    for folder in folders:
        stop(folder)


def stop(folder):
    folder.__exit__(None, None, None)


def test_parts_become_one_file_in_order(output, start):
    folder, parts = start()
    assert parts == []
    folder.add(0, ROWS[:2])
    folder.add(1, ROWS[2:])
    folder.finish(2)
    found = read(output)
    assert [(row["origin"], row["text"]) for row in found] == [
        (row.origin, row.text) for row in ROWS
    ]
    for row, expected in zip(found, ROWS, strict=True):
        assert row["vector"] == pytest.approx(expected.vector, rel=1e-7)
    assert [path.name for path in output.parent.iterdir()] == [output.name]


def test_the_output_names_the_model(output, start):
    folder, _ = start()
    folder.add(0, ROWS)
    folder.finish(1)
    if output.suffix == ".jsonl":
        assert {(row["model"], row["fingerprint"]) for row in read(output)} == {("a/model", "0123")}
    else:
        from pyarrow import parquet

        metadata = parquet.read_schema(output).metadata
        assert metadata[b"langchain_xlm.model"] == b"a/model"
        assert metadata[b"langchain_xlm.fingerprint"] == b"0123"


def test_no_text_makes_an_output_without_rows(output, start):
    folder, _ = start()
    folder.finish(0)
    assert read(output) == []


def test_a_second_run_takes_up_the_finished_parts(output, start):
    first, _ = start()
    first.add(0, ROWS[:2])
    stop(first)
    second, parts = start()
    assert [(part.rows, part.digest) for part in parts] == [(2, digest(ROWS[:2]))]
    second.add(1, ROWS[2:])
    second.finish(2)
    assert len(read(output)) == len(ROWS)


def test_a_part_killed_before_its_line_in_the_journal_does_not_count(output, start):
    first, _ = start()
    first.add(0, ROWS[:2])
    first.add(1, ROWS[2:])
    stop(first)
    journal = first.folder / "journal.jsonl"
    journal.write_bytes(journal.read_bytes()[:-10])
    second, parts = start()
    assert len(parts) == 1
    second.add(1, ROWS[2:3])
    second.finish(2)
    assert [row["text"] for row in read(output)] == [row.text for row in ROWS[:3]]


def test_vectors_of_another_model_are_not_mixed_in(output, start):
    first, _ = start()
    first.add(0, ROWS)
    stop(first)
    with pytest.raises(InputError, match=r"another model \(a/model; this is b/model\)"):
        start(Identity("b/model", "0123"))
    with pytest.raises(InputError, match="another version or setting of a/model"):
        start(Identity("a/model", "4567"))
    _, parts = start(Identity("b/model", "0123"), overwrite=True)
    assert parts == []


def test_a_finished_output_is_kept_until_told_otherwise(output, start):
    output.write_text("precious")
    with pytest.raises(InputError, match="--overwrite"):
        start()
    assert output.read_text() == "precious"
    folder, _ = start(overwrite=True)
    assert output.read_text() == "precious", "replaced only when the new one is whole"
    folder.add(0, ROWS)
    folder.finish(1)
    assert len(read(output)) == len(ROWS)


def test_a_lost_part_is_noticed(output, start):
    first, _ = start()
    first.add(0, ROWS)
    stop(first)
    next(first.folder.glob("000000*")).unlink()
    with pytest.raises(InputError, match="part 0 is missing"):
        start()


def test_two_processes_do_not_write_one_output(output, start):
    first, _ = start()
    with pytest.raises(InputError, match="another process"):
        start()
    with pytest.raises(InputError, match="another process"):
        start(overwrite=True)
    stop(first)


def test_a_digest_tells_texts_apart():
    one, two = Row("a", "bc", ()), Row("ab", "c", ())
    assert digest([one]) != digest([two])
    assert digest([one, two]) != digest([two, one])
    assert digest([one]) == digest([Row("a", "bc", (1.0,))])
    assert digest([Row("a", "\ud800", ())])


def test_other_kinds_of_output_are_refused(tmp_path):
    with pytest.raises(InputError, match=r"\.jsonl, \.ndjson, \.parquet"):
        format_for(tmp_path / "vectors.csv")


def test_parquet_without_pyarrow_names_the_extra(tmp_path, monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(MissingDependencyError, match=r"langchain-xlm\[parquet\]"):
        format_for(tmp_path / "vectors.parquet")
    assert format_for(tmp_path / "vectors.jsonl")
