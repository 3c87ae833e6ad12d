"""Whole evaluations on tiny checkpoints."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from langchain_xlm import XLMEmbeddings, XLMTranslationTool, loaded_models
from langchain_xlm.errors import ConfigurationError, ModelNotFoundError
from langchain_xlm.evaluation.cost import Budget, measure_cost
from langchain_xlm.evaluation.embeddings import EmbeddingsTask
from langchain_xlm.evaluation.examples import Document, Example, ExampleSet
from langchain_xlm.evaluation.report import Report
from langchain_xlm.evaluation.run import Options, evaluate
from langchain_xlm.evaluation.sentiment import SentimentTask
from langchain_xlm.evaluation.summarization import SummarizationTask
from langchain_xlm.evaluation.systems import System, combine
from langchain_xlm.evaluation.tasks import Input
from langchain_xlm.evaluation.translation import TranslationTask

GERMAN = [
    "Guten Morgen.",
    "Wo ist der Bahnhof?",
    "Ich trinke Tee.",
    "Es regnet heute.",
    "Das Buch ist gut.",
    "Wir gehen nach Hause.",
    "Die Katze schläft.",
]
ENGLISH = [
    "Good morning.",
    "Where is the station?",
    "I drink tea.",
    "It is raining today.",
    "The book is good.",
    "We are going home.",
    "The cat is asleep.",
]
FREE = Options(resamples=20, cost=None)


def pairs(group=None):
    rows = zip(GERMAN, ENGLISH, strict=True)
    return ExampleSet(
        tuple(
            Example(text, (reference,), group=group, origin=f"a.tsv:{line}")
            for line, (text, reference) in enumerate(rows, start=1)
        ),
        files=("a.tsv",),
        rows=7,
    )


def without_time(report: Report) -> Report:
    return report.model_copy(update={"created": ""})


def test_an_evaluation_of_vectors(checkpoints, tmp_path):
    model = str(checkpoints("sentence-encoder"))
    events = []
    report = evaluate(
        EmbeddingsTask(chunk=4),
        pairs(),
        [System(model)],
        output=tmp_path,
        options=FREE,
        progress=lambda *event: events.append(event),
    )
    name = Path(model).name
    assert events == [(name, done, 14) for done in (0, 4, 8, 12, 14)]
    assert Report.read_json(tmp_path / "report.json") == report
    assert (tmp_path / "report.html").exists()
    assert EmbeddingsTask().spec(System(model)) not in loaded_models(), "it is let go of"
    (system,) = report.systems
    assert system.fingerprint
    left, right = (
        np.array(XLMEmbeddings(model=model).embed_documents(texts)) for texts in (GERMAN, ENGLISH)
    )
    scores = left @ right.T
    expected = (scores.argmax(1) == np.arange(7)).mean(), (scores.argmax(0) == np.arange(7)).mean()
    assert system.figure("accuracy_forward").value == pytest.approx(100 * expected[0])
    assert system.figure("accuracy_backward").value == pytest.approx(100 * expected[1])
    assert np.array(system.similarity) == pytest.approx(scores, abs=1e-3)


def test_two_systems_are_compared_on_the_same_draws(checkpoints):
    one, other = (str(checkpoints("sentence-encoder", seed=seed)) for seed in (1, 2))
    report = evaluate(EmbeddingsTask(), pairs(), combine([one, other]), options=FREE)
    comparison = report.comparisons[0]
    assert [each.key for each in report.comparisons] == [
        "accuracy",
        "accuracy_forward",
        "accuracy_backward",
        "pair_cosine",
        "unrelated_cosine",
    ]
    values = [system.figures[0].value for system in report.systems]
    assert comparison.difference == pytest.approx(values[1] - values[0])
    assert comparison.low <= comparison.difference <= comparison.high
    assert 0 < comparison.p_value <= 1


KILLED = """
import os, pickle, signal, sys
from langchain_xlm.evaluation.run import evaluate
task, data, systems, output, options = pickle.loads(sys.stdin.buffer.read())

def progress(what, done, total):
    if done >= total // 2:
        os.kill(os.getpid(), signal.SIGKILL)

evaluate(task, data, systems, output=output, options=options, progress=progress)
"""


@pytest.mark.skipif(os.name == "nt", reason="Windows has no SIGKILL")
def test_an_evaluation_killed_half_way_ends_as_one_left_alone(checkpoints, tmp_path):
    systems = [System(str(checkpoints("sentence-encoder")))]
    task, data = EmbeddingsTask(chunk=4), pairs()
    alone = evaluate(task, data, systems, output=tmp_path / "alone", options=FREE)
    output = tmp_path / "killed"
    run = subprocess.run(
        [sys.executable, "-W", "ignore", "-c", KILLED],
        input=pickle.dumps((task, data, systems, output, FREE)),
        check=False,
    )
    assert run.returncode == -signal.SIGKILL
    assert not (output / "report.json").exists()
    events = []
    again = evaluate(
        task,
        data,
        systems,
        output=output,
        options=FREE,
        progress=lambda *event: events.append(event[1]),
    )
    assert events[0] == 8, "the first half is not made again"
    assert without_time(again) == without_time(alone)
    kept = [next((folder / "predictions").iterdir()) for folder in (output, tmp_path / "alone")]
    assert kept[0].read_bytes() == kept[1].read_bytes()


def test_a_finished_evaluation_loads_no_model_again(checkpoints, tmp_path):
    source = checkpoints("sentence-encoder")
    systems, task = [System(str(source))], EmbeddingsTask(chunk=4)
    first = evaluate(task, pairs(), systems, output=tmp_path, options=FREE)
    second = evaluate(task, pairs(), systems, output=tmp_path, options=FREE)
    assert without_time(first) == without_time(second)
    # Other data is other predictions.
    evaluate(task, pairs("de").sample(3), systems, output=tmp_path, options=FREE)
    assert len(list((tmp_path / "predictions").iterdir())) == 2


def test_translations_are_those_of_the_tool(checkpoints):
    model = str(checkpoints("m2m100"))
    task = TranslationTask(source_language="de", target_language="en", similarity_model=None)
    report = evaluate(task, pairs(), [System(model)], options=FREE)
    tool = XLMTranslationTool(model=model)
    expected = {text: tool.translate(text, "en", "de").text for text in GERMAN}
    shown = [*report.systems[0].best, *report.systems[0].worst]
    assert {each.text: each.output for each in shown} == {
        each.text: expected[each.text] for each in shown
    }
    assert [system.name for system in report.systems][1:] == ["source copied"]
    assert report.settings["source_language"] == "de"


def test_similarity_comes_from_an_encoder(checkpoints):
    encoder = str(checkpoints("sentence-encoder"))
    task = TranslationTask(source_language="de", target_language="en", similarity_model=encoder)
    scored = task.score(pairs(), [{"output": text} for text in (*GERMAN[:6], "")])
    (similarity,) = [each for each in scored.measures if each.key == "similarity"]
    assert similarity.statistic(np.arange(7)) == pytest.approx(1, abs=1e-5)
    summary = SummarizationTask(similarity_model=encoder)
    scored = summary.score(pairs(), [{"output": text} for text in ENGLISH])
    found = {each.key: each.statistic(np.arange(7)) for each in scored.measures}
    assert found["reference_similarity"] == pytest.approx(1, abs=1e-5)
    assert found["source_similarity"] < 0.9999


def test_sentiment_by_language_and_without_texts(checkpoints, tmp_path):
    model = str(checkpoints("xlm-roberta-classifier"))
    labels = ["positive", "neutral", "negative", "neutral", "positive", "neutral", "neutral"]
    data = ExampleSet(
        tuple(
            Example(text, label=label, group=group, origin="a")
            for group, texts in (("de", GERMAN), ("en", ENGLISH))
            for text, label in zip(texts, labels, strict=True)
        )
    )
    options = Options(resamples=0, cost=None, shown=0)
    report = evaluate(SentimentTask(), data, [System(model)], output=tmp_path, options=options)
    system = report.systems[0]
    assert [group.group for group in system.groups] == ["de", "en"]
    accuracies = [group.figures[1].value for group in system.groups]
    assert np.mean(accuracies) == pytest.approx(system.figure("accuracy").value)
    assert sum(map(sum, system.confusion.counts)) == 14
    assert system.figures[0].low is None
    for name in ("report.json", "report.html"):
        assert "Bahnhof" not in (tmp_path / name).read_text(encoding="utf-8")


def test_summaries_beside_their_baselines(checkpoints):
    model = str(checkpoints("sentence-encoder"))
    text = " ".join(ENGLISH)
    data = ExampleSet((Example(text, (ENGLISH[0],), origin="a"), Example(text, (text,))))
    task = SummarizationTask(sentences=2, similarity_model=None)
    report = evaluate(task, data, [System(model)], options=FREE)
    assert [system.name for system in report.systems][1:] == ["lead-2", "random-2"]
    for system in report.systems:
        assert 0 < system.figure("rougeL").value < 100
        assert system.figure("compression").value < 60
    assert [each.key for each in report.comparisons].count("rougeL") == 3


def test_queries_are_answered_from_a_corpus(checkpoints):
    prompts = {"query": "ask: ", "document": ""}
    model = str(checkpoints("sentence-encoder", prompts=prompts))
    data = ExampleSet(
        (Example("Wo ist der Bahnhof?", relevant=(("1", 1.0),), origin="q"),),
        corpus=tuple(Document(str(n), text) for n, text in enumerate(ENGLISH)),
    )
    predictor = EmbeddingsTask(kind="retrieval").open(System(model))
    asked, told = predictor.predict([Input("text", "query"), Input("text")])
    assert asked != told, "queries have a prompt of their own"
    report = evaluate(EmbeddingsTask(kind="retrieval"), data, [System(model)], options=FREE)
    assert report.systems[0].figure("recall@10").value == 100
    assert report.data.corpus == 7


def test_a_text_that_a_model_refuses_is_counted(checkpoints):
    model = str(checkpoints("m2m100"))
    task = TranslationTask(source_language="de", target_language="en", similarity_model=None)
    predictor = task.open(System(model))
    found = predictor.predict([Input("Guten Tag."), Input("\ud800"), Input("Hallo.")])
    assert [("failure" in each, bool(each["output"])) for each in found] == [
        (False, True),
        (True, False),
        (False, True),
    ]
    judge = SentimentTask().open(System(str(checkpoints("xlm-roberta-classifier"))))
    assert judge.predict([Input(" "), Input("gut")])[0] == {
        "scores": {},
        "failure": judge.predict([Input(" ")])[0]["failure"],
    }
    summarizer = SummarizationTask().open(System(str(checkpoints("sentence-encoder"))))
    (refused, kept) = summarizer.predict([Input(" "), Input("One. Two.")])
    assert "failure" in refused
    assert kept["output"] == "One. Two."


def test_costs_are_measured_in_a_process_of_their_own(checkpoints, tmp_path):
    from transformers import AutoModel

    folder = checkpoints("sentence-encoder")
    options = Options(resamples=0, cost=Budget(latency_runs=3, seconds=0.2))
    systems = [System(str(folder))]
    report = evaluate(EmbeddingsTask(), pairs(), systems, output=tmp_path, options=options)
    cost = report.systems[0].cost
    model = AutoModel.from_pretrained(folder, add_pooling_layer=False)
    assert cost.weights_bytes == model.get_memory_footprint()
    assert 0 < cost.latency_p50_s <= cost.latency_p95_s
    assert cost.latency_runs in {1, 2, 3}
    assert cost.throughput_texts_per_s > 0
    assert cost.peak_bytes > 0
    assert cost.dtype == "float32"
    again = evaluate(EmbeddingsTask(), pairs(), systems, output=tmp_path, options=options)
    assert again.systems[0].cost == cost, "measured once for a folder"


def test_what_fails_there_fails_here(tmp_path):
    system = System(str(tmp_path / "nothing"))
    with pytest.raises(ModelNotFoundError, match="nothing"):
        measure_cost(EmbeddingsTask(), system, [Input("a")], Budget(1, 0.1))


def test_there_must_be_a_system():
    with pytest.raises(ConfigurationError, match="no system"):
        evaluate(EmbeddingsTask(), pairs(), [])
