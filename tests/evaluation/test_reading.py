from __future__ import annotations

import json
from pathlib import Path

import pytest

from langchain_xlm.errors import ConfigurationError, DataFormatError, InputError
from langchain_xlm.evaluation.reading import (
    LAYOUTS,
    DataSource,
    pair_files,
    read_corpus,
    read_examples,
)

TRANSLATION = LAYOUTS["translation"]


def write(path: Path, content: str | bytes) -> Path:
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def read(path, task="translation", **options):
    return read_examples([DataSource(path)], LAYOUTS[task], **options)


def pairs(found):
    return [(example.text, example.references) for example in found.examples]


EXPECTED = [("Guten Tag.", ("Good day.",)), ("Größer\u2028als", ('Bigger "than"',))]


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("plain.tsv", 'Guten Tag.\tGood day.\nGrößer\u2028als\tBigger "than"\n'),
        ("header.tsv", 'Reference\tSource\nGood day.\tGuten Tag.\nBigger "than"\tGrößer\u2028als'),
        (
            "bom.csv",
            '\ufeffsource,target\r\nGuten Tag.,Good day.\r\nGrößer\u2028als,"Bigger ""than"""',
        ),
        (
            "lines.jsonl",
            '{"src": "Guten Tag.", "ref": "Good day."}\n'
            '{"src": "Größer\\u2028als", "ref": ["Bigger \\"than\\""]}\n',
        ),
    ],
)
def test_every_kind_of_file_gives_the_same_examples(tmp_path, name, content):
    found = read(write(tmp_path / name, content))
    assert pairs(found) == EXPECTED
    assert found.rows == 2
    assert found.skipped == {}


def test_parquet_and_rows_in_memory_give_the_same_examples(tmp_path):
    import pyarrow as pa
    from pyarrow import parquet

    rows = [{"source": text, "reference": list(refs)} for text, refs in EXPECTED]
    path = tmp_path / "rows.parquet"
    parquet.write_table(pa.Table.from_pylist(rows), path)
    assert pairs(read(path)) == EXPECTED
    assert pairs(read(rows)) == EXPECTED
    assert read(rows).examples[1].origin == "dataset:2"


def test_a_datasets_object_is_read(tmp_path):
    datasets = pytest.importorskip("datasets")
    rows = [{"source": text, "reference": list(refs)} for text, refs in EXPECTED]
    assert pairs(read(datasets.Dataset.from_list(rows))) == EXPECTED


def test_two_aligned_files_with_windows_line_ends(tmp_path):
    left = write(tmp_path / "a.de", "Guten Tag.\r\nGrößer\u2028als\r\n")
    right = write(tmp_path / "a.en", 'Good day.\nBigger "than"')
    found = read((left, right))
    assert pairs(found) == EXPECTED
    assert found.examples[1].origin == f"{left}+{right}:2"


def test_lines_are_named_as_an_editor_counts_them(tmp_path):
    path = write(tmp_path / "a.csv", 'source,reference\n"one\ntwo",x\n\nthree,y\n')
    found = read(path)
    assert [example.origin for example in found.examples] == [f"{path}:2", f"{path}:5"]
    assert found.skipped == {"blank line": 1}
    assert found.rows == 3


BROKEN = [
    ("a.tsv", "one\nzwei\n", ":1: no column 'reference'"),
    ("a.tsv", "one\teins\ntwo\n", ":2: 1 cells where the first row has 2."),
    ("a.tsv", "one\teins\ntwo\tzwei\tdrei\n", ":2: 3 cells where the first row has 2."),
    ("a.tsv", "one\teins\ntwo\t  \n", ":2: the reference is empty."),
    ("a.tsv", "one\teins\n\tzwei\n", ":2: the source is empty."),
    ("a.tsv", b"one\teins\ntwo\tf\xfcnf\n", ":2: not UTF-8: byte 0xfc"),
    ("a.tsv", "source\tsource\na\tb\n", ":1: two columns are called 'source'."),
    ("a.tsv", "", ": no example was found."),
    ("a.tsv", "source\treference\n", ": no example was found."),
    ("a.csv", 'source,reference\none,"eins\n', ":2: not CSV:"),
    ("a.csv", "source,other\none,eins\n", ":2: no column 'reference'"),
    ("a.jsonl", '{"source": "one", "reference": "eins"}\n{"source": \n', ":2: not JSON:"),
    ("a.jsonl", '["one"]\n', ":1: a JSON list where an object must be."),
    ("a.jsonl", '{"source": "one", "reference": []}\n', ":1: the reference is empty."),
    ("a.jsonl", '{"source": "one", "reference": 7}\n', ":1: the reference must be a string"),
    ("a.jsonl", '{"source": "one", "reference": null}\n', ":1: the reference must be a string"),
    ("a.jsonl", '{"source": "\\ud800", "reference": "x"}\n', ":1: the source has half of"),
    ("a.parquet", b"no parquet at all", ": not Parquet:"),
]


@pytest.mark.parametrize(("name", "content", "message"), BROKEN)
def test_what_is_wrong_is_said_in_one_sentence_with_file_and_line(tmp_path, name, content, message):
    path = write(tmp_path / name, content)
    with pytest.raises(DataFormatError) as caught:
        read(path)
    assert str(caught.value).startswith(f"{path}{message}")
    assert "\n" not in str(caught.value)
    assert caught.value.path == str(path)


def test_unequal_line_counts_name_the_first_line_without_a_partner(tmp_path):
    left = write(tmp_path / "a.de", "eins\nzwei\n")
    right = write(tmp_path / "a.en", "one\ntwo\nthree\nfour\n")
    with pytest.raises(DataFormatError, match=rf"{right}:3: .* have 2 and 4 lines"):
        read((left, right))


def test_a_line_that_is_blank_on_one_side_only_is_an_error(tmp_path):
    left = write(tmp_path / "a.de", "eins\n\nzwei\n\n")
    right = write(tmp_path / "a.en", "one\n\ntwo\nthree\n")
    with pytest.raises(DataFormatError, match=":4: the source is empty"):
        read((left, right))
    found = read((left, right), skip_invalid=True)
    assert len(found) == 2
    assert found.rows == 4
    assert found.skipped == {"blank line": 1, "the source is empty": 1}


def test_every_row_is_used_or_counted(tmp_path):
    content = "one\teins\n\ntwo\t\n\tdrei\nfour\tvier\n"
    found = read(write(tmp_path / "a.tsv", content), skip_invalid=True)
    assert found.rows == len(found) + sum(found.skipped.values()) == 5
    assert found.skipped == {
        "blank line": 1,
        "the reference is empty": 1,
        "the source is empty": 1,
    }


def test_what_makes_a_whole_file_useless_is_never_skipped(tmp_path):
    path = write(tmp_path / "a.tsv", b"one\teins\n\xff\tzwei\n")
    with pytest.raises(DataFormatError, match="not UTF-8"):
        read(path, skip_invalid=True)


def test_columns_can_be_named(tmp_path):
    path = write(tmp_path / "a.csv", "german,english\nGuten Tag.,Good day.\n")
    found = read(path, columns={"source": "german", "reference": "english"})
    assert pairs(found) == EXPECTED[:1]
    scored = write(tmp_path / "b.tsv", "4.5\tone\teins\n0\ttwo\tdrei\n")
    found = read(scored, "sts", columns={"score": "1", "left": "2", "right": "3"})
    assert [(e.score, e.text, e.references) for e in found.examples] == [
        (4.5, "one", ("eins",)),
        (0.0, "two", ("drei",)),
    ]
    with pytest.raises(ConfigurationError, match="'sauce', which is no column"):
        read(path, columns={"sauce": "german"})


def test_a_column_given_away_is_not_read_twice(tmp_path):
    path = write(tmp_path / "a.tsv", "positive\tgood film\n")
    found = read(path, "sentiment", columns={"label": "1", "text": "2"})
    assert [(e.label, e.text) for e in found.examples] == [("positive", "good film")]
    with pytest.raises(DataFormatError, match=":1: no column 'text'"):
        read(path, "sentiment", columns={"label": "1"})


def test_scores_that_are_no_numbers(tmp_path):
    path = write(tmp_path / "a.tsv", "one\teins\t4\ntwo\tzwei\tmany\n")
    with pytest.raises(DataFormatError, match=r":2: the score 'many' is no number"):
        read(path, "sts")


def test_groups_come_from_the_source_or_from_a_column(tmp_path):
    path = write(tmp_path / "a.csv", "text,label,language\ngood,positive,en\ngut,positive,de\n")
    assert list(read(path, "sentiment").groups) == ["en", "de"]
    sources = [DataSource(path, "both")]
    assert list(read_examples(sources, LAYOUTS["sentiment"]).groups) == ["both"]


def test_text_files_come_in_pairs(tmp_path):
    paths = [("de", Path("a.de")), (None, Path("a.en")), ("fr", Path("b.tsv"))]
    assert pair_files(paths) == [
        DataSource((Path("a.de"), Path("a.en")), "de"),
        DataSource(Path("b.tsv"), "fr"),
    ]
    for odd in (paths[:1], [paths[0], paths[2]]):
        with pytest.raises(ConfigurationError, match=r"a\.de is text without columns"):
            pair_files(odd)


def test_queries_and_corpus(tmp_path):
    queries = write(
        tmp_path / "q.jsonl",
        "".join(
            json.dumps(row) + "\n"
            for row in (
                {"query": "Wo?", "relevant": ["d1"]},
                {"query": "Wann?", "relevant": {"d1": 0, "d2": 2}},
                {"query": "Wer?", "relevant": "d1 d2"},
            )
        ),
    )
    found = read(queries, "retrieval")
    assert [example.relevant for example in found.examples] == [
        (("d1", 1.0),),
        (("d1", 0.0), ("d2", 2.0)),
        (("d1", 1.0), ("d2", 1.0)),
    ]
    corpus = write(tmp_path / "c.csv", "id,title,text\nd1,Here,It is here.\nd2,,Then.\n")
    documents = read_corpus(DataSource(corpus))
    assert [(d.id, d.text) for d in documents] == [("d1", "Here\nIt is here."), ("d2", "Then.")]
    write(corpus, "id,text\nd1,a\nd1,b\n")
    with pytest.raises(DataFormatError, match=rf":3: the id 'd1' is that of {corpus}:2 as well"):
        read_corpus(DataSource(corpus))


def test_queries_without_an_answer(tmp_path):
    path = write(tmp_path / "q.tsv", "Wo?\td1\nWann?\t\n")
    with pytest.raises(DataFormatError, match=":2: the column relevant names no document"):
        read(path, "retrieval")


def test_a_row_in_memory_must_be_a_mapping():
    with pytest.raises(DataFormatError, match="dataset:2: the row is a tuple"):
        read([{"source": "a", "reference": "b"}, ("a", "b")])


def test_errors_are_of_the_package(tmp_path):
    assert issubclass(DataFormatError, ValueError)
    assert not issubclass(DataFormatError, InputError)


def test_samples_are_seeded_and_keep_order_and_groups(tmp_path):
    rows = [
        {"source": f"text {n}", "reference": "x", "language": "de" if n % 3 else "fr"}
        for n in range(60)
    ]
    whole = read(rows)
    drawn = whole.sample(5, seed=3)
    assert drawn == whole.sample(5, seed=3)
    assert drawn.examples != whole.sample(5, seed=4).examples
    assert {name: len(own) for name, own in drawn.groups.items()} == {"fr": 5, "de": 5}
    places = [whole.examples.index(example) for example in drawn.examples]
    assert places == sorted(places)
    # A group more does not change what is drawn of the others.
    more = read([*rows, *({"source": "t", "reference": "x", "language": "nl"},) * 9])
    kept = [example for example in more.sample(5, seed=3).examples if example.group != "nl"]
    assert [e.text for e in kept] == [e.text for e in drawn.examples]
    assert whole.sample(None) is whole
    assert len(whole.sample(1000)) == 60


def test_fingerprints_follow_content_not_files(tmp_path):
    one = read(write(tmp_path / "a.tsv", "one\teins\n"))
    same = read(write(tmp_path / "b.csv", "one,eins\n"))
    other = read(write(tmp_path / "c.tsv", "one\teinz\n"))
    assert one.fingerprint == same.fingerprint != other.fingerprint
