"""Each task on answers that are given: its figures, and what it does with what is missing."""

from __future__ import annotations

import base64
import sys
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
from scipy import stats
from sklearn import metrics

from langchain_xlm.errors import ConfigurationError, MissingDependencyError
from langchain_xlm.evaluation.embeddings import EmbeddingsTask
from langchain_xlm.evaluation.examples import Document, Example, ExampleSet
from langchain_xlm.evaluation.sentiment import SentimentTask, expected_calibration_error
from langchain_xlm.evaluation.summarization import SummarizationTask
from langchain_xlm.evaluation.translation import TranslationTask


def examples(*rows, **fields):
    return ExampleSet(tuple(Example(**row) for row in rows), **fields)


def values(scored, count):
    return {m.key: m.statistic(np.arange(count)) for m in scored.measures}


# ---------------------------------------------------------------------------------- sentiment

LABELS = ["negative", "neutral", "positive"]


def judged():
    generator = np.random.default_rng(4)
    truth = generator.choice(LABELS, 90, p=[0.5, 0.3, 0.2])
    shares = generator.dirichlet([1, 1, 1], 90)
    data = examples(*({"text": f"t{n}", "label": label} for n, label in enumerate(truth)))
    predictions = [{"scores": dict(zip(LABELS, row.tolist(), strict=True))} for row in shares]
    return data, predictions, truth, shares


def test_sentiment_figures_are_those_of_scikit_learn():
    data, predictions, truth, shares = judged()
    given = np.array(LABELS)[shares.argmax(axis=1)]
    scored = SentimentTask().score(data, predictions)
    found = values(scored, 90)
    assert found["accuracy"] == pytest.approx(100 * metrics.accuracy_score(truth, given))
    assert found["macro_f1"] == pytest.approx(
        100 * metrics.f1_score(truth, given, average="macro", labels=LABELS)
    )
    matrix = metrics.confusion_matrix(truth, given, labels=LABELS)
    assert scored.detail.labels == tuple(LABELS)
    assert np.array(scored.detail.confusion).tolist() == matrix.tolist()
    part = np.array([1, 1, 5, 8, 13, 40, 41, 42])
    assert scored.measures[0].statistic(part) == pytest.approx(
        100
        * metrics.f1_score(
            truth[part], given[part], average="macro", labels=LABELS, zero_division=0
        )
    )


def test_calibration_error_by_its_definition():
    _, _, truth, shares = judged()
    confidence = shares.max(axis=1)
    right = (np.array(LABELS)[shares.argmax(axis=1)] == truth).astype(float)
    edges = np.linspace(0, 1, 16)
    expected = 0.0
    for low, high in pairwise(edges):
        own = (confidence >= low) & (confidence < high)
        if own.any():
            expected += abs(confidence[own].mean() - right[own].mean()) * own.mean()
    assert expected_calibration_error(confidence, right) == pytest.approx(expected)
    assert expected_calibration_error(np.ones(4), np.ones(4)) == 0
    assert expected_calibration_error(np.full(4, 0.75), np.array([1, 1, 1, 0.0])) == 0


def test_labels_of_files_are_read_as_those_of_models():
    data = examples({"text": "a", "label": "POS"}, {"text": "b", "label": "neg"})
    sure = [{"scores": {"negative": 0.1, "positive": 0.9}}] * 2
    assert values(SentimentTask().score(data, sure), 2)["accuracy"] == 50
    assert list(SentimentTask().baselines(data)) == ["always negative"]


def test_labels_that_say_nothing_must_be_explained_before_the_run():
    data = examples({"text": "a", "label": "1", "origin": "a.tsv:1"}, {"text": "b", "label": "0"})
    with pytest.raises(ConfigurationError, match=r"labels 0, 1 do not say .*a.tsv:1 has '1'"):
        SentimentTask().inputs(data)
    task = SentimentTask(label_meanings={"0": "negative", "1": "positive"})
    assert [each.text for each in task.inputs(data)] == ["a", "b"]


def test_a_label_that_the_model_cannot_give_is_named():
    data = examples(
        {"text": "a", "label": "joy", "origin": "a.tsv:1"}, {"text": "b", "label": "anger"}
    )
    sure = [{"scores": {"negative": 0.1, "positive": 0.9}}] * 2
    with pytest.raises(ConfigurationError, match=r"a.tsv:1 has the label 'joy'.*negative, pos"):
        SentimentTask().score(data, sure)


def test_one_label_alone_is_read():
    data = examples({"text": "a", "label": "Positive"})
    sure = [{"scores": {"negative": 0.1, "positive": 0.9}}]
    assert values(SentimentTask().score(data, sure), 1)["accuracy"] == 100


def test_a_text_that_was_refused_counts_as_wrong():
    data = examples({"text": "a", "label": "positive"}, {"text": "b", "label": "negative"})
    scored = SentimentTask().score(
        data, [{"scores": {"negative": 0.1, "positive": 0.9}}, {"scores": {}, "failure": "no"}]
    )
    assert values(scored, 2)["accuracy"] == 50
    assert scored.detail.labels == ("negative", "positive", "(none)")


# --------------------------------------------------------------------------------- embeddings


def vectors(array):
    return [
        {"vector": base64.b64encode(np.asarray(row, dtype="<f4").tobytes()).decode()}
        for row in array
    ]


def test_correlations_are_those_of_scipy():
    generator = np.random.default_rng(8)
    rows = [{"text": f"l{n}", "references": (f"r{n}",), "score": float(n % 6)} for n in range(40)]
    data, task = examples(*rows), EmbeddingsTask(kind="sts")
    texts = [each.text for each in task.inputs(data)]
    array = generator.normal(size=(len(texts), 12))
    place = {text: n for n, text in enumerate(texts)}
    cosine = []
    for row in rows:
        one, other = array[place[row["text"]]], array[place[row["references"][0]]]
        cosine.append(one @ other / np.linalg.norm(one) / np.linalg.norm(other))
    truth = [row["score"] for row in rows]
    found = values(task.score(data, vectors(array)), 40)
    assert found["spearman"] == pytest.approx(100 * stats.spearmanr(cosine, truth).statistic)
    assert found["pearson"] == pytest.approx(100 * stats.pearsonr(cosine, truth).statistic)


def test_a_draw_of_equal_scores_has_no_correlation():
    data = examples(
        {"text": "a", "references": ("b",), "score": 1.0},
        {"text": "c", "references": ("d",), "score": 2.0},
    )
    scored = EmbeddingsTask(kind="sts").score(data, vectors(np.eye(4)))
    assert np.isnan(scored.measures[0].statistic(np.array([0, 0])))


def test_translations_are_found_within_their_group_both_ways():
    data = examples(
        {"text": "eins", "references": ("one",), "group": "de"},
        {"text": "zwei", "references": ("two",), "group": "de"},
        {"text": "un", "references": ("one",), "group": "fr"},
    )
    task = EmbeddingsTask(kind="bitext")
    assert [each.text for each in task.inputs(data)] == ["eins", "one", "zwei", "two", "un"]
    # "zwei" lies nearer to "one"; "un" is alone in its group, so it is always found.
    array = [[1, 0, 0], [1, 0, 0], [0.9, 0.3, 0], [0, 1, 0], [0, 0, 1]]
    found = values(task.score(data, vectors(array)), 3)
    assert found["accuracy_forward"] == pytest.approx(100 * 2 / 3)
    assert found["accuracy_backward"] == pytest.approx(100)
    assert found["accuracy"] == pytest.approx((100 * 2 / 3 + 100) / 2)


def test_equal_texts_are_embedded_once_and_tied():
    data = examples({"text": "a", "references": ("x",)}, {"text": "b", "references": ("x",)})
    task = EmbeddingsTask()
    assert len(task.inputs(data)) == 3
    found = values(task.score(data, vectors([[1, 0], [1, 0], [0.5, 0.5]])), 2)
    assert found["accuracy_forward"] == 50


def test_queries_find_documents_with_their_own_prompt():
    data = examples(
        {"text": "wo", "relevant": (("d2", 1.0),)},
        {"text": "wann", "relevant": (("d1", 1.0),)},
        corpus=(Document("d1", "then"), Document("d2", "wo")),
    )
    task = EmbeddingsTask(kind="retrieval")
    inputs = task.inputs(data)
    assert [(each.text, each.purpose) for each in inputs] == [
        ("wo", "query"),
        ("wann", "query"),
        ("then", "document"),
        ("wo", "document"),
    ]
    found = values(task.score(data, vectors([[0, 1], [0, 1], [1, 0], [0, 1]])), 2)
    assert found["recall@1"] == 50
    assert found["recall@10"] == 100
    assert found["ndcg@10"] == pytest.approx(100 * (1 + 1 / np.log2(3)) / 2)


def test_an_answer_that_the_corpus_lacks_is_named():
    data = examples(
        {"text": "wo", "relevant": (("d9", 1.0),), "origin": "q.tsv:4"},
        corpus=(Document("d1", "x"),),
    )
    with pytest.raises(ConfigurationError, match=r"q.tsv:4 names the document 'd9'"):
        EmbeddingsTask(kind="retrieval").score(data, vectors([[0, 1], [1, 0]]))


# -------------------------------------------------------------------------------- translation


def test_translation_figures_beyond_the_references():
    data = examples(
        {"text": "Das Wetter ist heute sehr schön.", "references": ("The weather is fine today.",)},
        {"text": "Ich gehe morgen in die Stadt.", "references": ("I go to town tomorrow.",)},
        {"text": "Der Hund schläft im Garten.", "references": ("The dog sleeps outside.",)},
        {"text": "1234", "references": ("1234",)},
    )
    task = TranslationTask(source_language="de", target_language="English", similarity_model=None)
    outputs = [
        "The weather is very nice today.",
        "Ich gehe morgen in die Stadt.",  # not translated
        "The dog the dog the dog the dog the dog the dog the dog",
        "1234",
    ]
    scored = task.score(data, [{"output": output} for output in outputs])
    found = values(scored, 4)
    assert found["wrong_language"] == pytest.approx(100 / 3), "digits are in no language"
    assert found["loops"] == 25
    own = sum(map(len, outputs))
    other = sum(len(example.references[0]) for example in data.examples)
    assert found["length_ratio"] == pytest.approx(own / other)
    assert scored.detail.notes["wrong_language_of_references"] == 0
    assert "similarity" not in found
    (copied,) = task.baselines(data).values()
    assert [each["output"] for each in copied] == [example.text for example in data.examples]


def test_comet_gets_sources_outputs_and_first_references(monkeypatch):
    asked = []

    class Judge:
        def predict(self, rows, **options):
            asked.extend(rows)
            return SimpleNamespace(scores=[0.25 * n for n in range(len(rows))])

    package = SimpleNamespace(download_model=str, load_from_checkpoint=lambda path: Judge())
    monkeypatch.setitem(sys.modules, "comet", package)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: name)
    data = examples(
        {"text": "Hallo.", "references": ("Hello.", "Hi.")},
        {"text": "Tee.", "references": ("Tea.",)},
    )
    task = TranslationTask(
        source_language="de", target_language="en", similarity_model=None, comet_model="any"
    )
    scored = task.score(data, [{"output": "Hey."}, {"output": "Tea."}])
    assert values(scored, 2)["comet"] == pytest.approx(0.125)
    assert asked[0] == {"src": "Hallo.", "mt": "Hey.", "ref": "Hello."}


def test_one_language_is_no_direction():
    with pytest.raises(ConfigurationError, match="are one language"):
        TranslationTask(source_language="de", target_language="German")


def test_comet_is_refused_where_it_is_not_installed(monkeypatch):
    monkeypatch.setitem(__import__("sys").modules, "comet", None)
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None if name == "comet" else name)
    with pytest.raises(MissingDependencyError, match="unbabel-comet"):
        TranslationTask(source_language="de", target_language="en", comet_model="any")


# ------------------------------------------------------------------------------ summarization

DOCUMENT = (
    "The old bridge was closed on Monday. Engineers had found a crack in one of its arches."
    " Repairs will take three months. Until then a ferry carries people across the river."
    " The mayor asked everybody for patience."
)


def test_baselines_take_the_first_sentences_and_any():
    data = examples(*({"text": DOCUMENT, "references": ("x",)} for _ in range(8)))
    task = SummarizationTask(sentences=2, similarity_model=None)
    found = task.baselines(data)
    assert set(found) == {"lead-2", "random-2"}
    assert {each["output"] for each in found["lead-2"]} == {
        "The old bridge was closed on Monday. Engineers had found a crack in one of its arches."
    }
    drawn = {each["output"] for each in found["random-2"]}
    assert len(drawn) > 2
    assert found == task.baselines(data), "the draw is seeded"


def test_summaries_are_held_against_every_reference():
    data = examples(
        {
            "text": DOCUMENT,
            "references": ("Something else entirely.", "The bridge is closed for three months."),
        }
    )
    task = SummarizationTask(similarity_model=None)
    scored = task.score(data, [{"output": "The bridge is closed for three months."}])
    found = values(scored, 1)
    assert found["rougeL"] == found["rouge1"] == found["rouge2"] == pytest.approx(100)
    assert found["compression"] == pytest.approx(100 * 38 / len(DOCUMENT))
    assert "stemmer" in scored.signatures["rougeL"], "the references were found to be English"
