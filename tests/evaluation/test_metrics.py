"""The figures equal those of the libraries that others use, called directly."""

from __future__ import annotations

import numpy as np
import pytest
import sacrebleu
from rouge_score import rouge_scorer
from sacrebleu.metrics import BLEU, CHRF, TER
from sacrebleu.significance import PairedTest
from sklearn import metrics

from langchain_xlm.evaluation import sacre
from langchain_xlm.evaluation.intervals import Resampling, interval, paired_p_value
from langchain_xlm.evaluation.ranking import chance_of_top, isotropy, ndcg, recall
from langchain_xlm.evaluation.rouge import UnicodeTokenizer, rouge_scores
from langchain_xlm.evaluation.sacre import bleu_tokenizer, corpus_figures, sentence_chrf

OUTPUTS = [
    "The cat sits on the mat.",
    "A dog barks at night in the garden.",
    "",
    "It rains; I will stay at home today.",
    "the the the the the",
] * 6
REFERENCES = [
    ("The cat is sitting on the mat.", "A cat sits on the mat."),
    ("At night a dog barks in the garden.",),
    ("Nothing was said.",),
    ("It is raining, so I stay at home today.", "I stay in, for it rains.", "Rain: I stay."),
    ("The end.",),
] * 6
ALL = np.arange(len(OUTPUTS))


def streams():
    most = max(map(len, REFERENCES))
    return [[own[n] if n < len(own) else None for own in REFERENCES] for n in range(most)]


def test_translation_figures_are_those_of_sacrebleu():
    figures = {f.key: f for f in corpus_figures(OUTPUTS, REFERENCES, language="en")}
    assert list(figures) == ["chrf++", "bleu", "ter"]
    for key, metric in (("chrf++", CHRF(word_order=2)), ("bleu", BLEU()), ("ter", TER())):
        expected = metric.corpus_score(OUTPUTS, streams())
        assert figures[key].statistic(ALL) == pytest.approx(expected.score, abs=1e-9)
        assert figures[key].signature == str(metric.get_signature())
        # And over a part of the sentences.
        part = np.array([0, 3, 3, 1])
        again = metric.corpus_score(
            [OUTPUTS[n] for n in part], [[side[n] for n in part] for side in streams()]
        )
        assert figures[key].statistic(part) == pytest.approx(again.score, abs=1e-9)
    assert sentence_chrf(OUTPUTS[:4], REFERENCES[:4]) == pytest.approx(
        [
            sacrebleu.sentence_chrf(output, list(own), word_order=2).score
            for output, own in zip(OUTPUTS[:4], REFERENCES[:4], strict=True)
        ]
    )


def test_chinese_and_japanese_are_cut_as_published_results_are():
    outputs, references = ["我喜欢喝茶。", "今天下雨了。"], [("我喜欢茶。",), ("今天下雨。",)]
    figures = {f.key: f for f in corpus_figures(outputs, references, language="zh-Hans")}
    expected = sacrebleu.corpus_bleu(outputs, [[own[0] for own in references]], tokenize="zh")
    assert figures["bleu"].statistic(np.arange(2)) == pytest.approx(expected.score)
    assert expected.score > 20
    ter = TER(normalized=True, asian_support=True)
    assert figures["ter"].statistic(np.arange(2)) == pytest.approx(
        ter.corpus_score(outputs, [[own[0] for own in references]]).score
    )
    assert bleu_tokenizer("ja") == "ja-mecab"
    assert [bleu_tokenizer(tag) for tag in ("th", "de", "pt-BR")] == ["char", "13a", "13a"]


def test_without_mecab_characters_are_counted(monkeypatch):
    monkeypatch.setattr(sacre, "find_spec", lambda name: None)
    assert bleu_tokenizer("ja") == "char"


def test_intervals_and_significance_are_those_of_sacrebleu():
    generator = np.random.default_rng(3)
    references = [own[0] for own in REFERENCES] * 4
    systems = {
        "one": [
            reference if generator.random() < 0.5 else "Something else is said here."
            for reference in references
        ],
        "two": [
            reference if generator.random() < 0.8 else "Something else is said here."
            for reference in references
        ],
    }
    named = list(systems.items())
    metric = CHRF(word_order=2)
    _, scores = PairedTest(named, {"CHRF": metric}, [references], "bs", n_samples=1000)()
    theirs = next(value for key, value in scores.items() if key != "System")
    size = len(references)
    spreads, values = [], []
    for outputs in systems.values():
        figure = corpus_figures(outputs, [(each,) for each in references], language="en")[0]
        spreads.append(Resampling(size).spread(figure.statistic))
        values.append(figure.statistic(np.arange(size)))
    assert values == pytest.approx([result.score for result in theirs])
    for spread, result in zip(spreads, theirs, strict=True):
        low, high = interval(spread)
        assert (low + high) / 2 == pytest.approx(result.mean, abs=0.8)
        assert (high - low) / 2 == pytest.approx(result.ci, rel=0.15)
    assert theirs[1].p_value < 0.02
    assert paired_p_value(values[1] - values[0], spreads[1], spreads[0]) < 0.02


@pytest.mark.parametrize("language", ["en", "de"])
def test_summary_figures_are_those_of_rouge_score(language):
    found = rouge_scores(OUTPUTS, REFERENCES, language=language)
    english = language == "en"
    scorer = rouge_scorer.RougeScorer(
        ["rouge1", "rouge2", "rougeL"],
        use_stemmer=english,
        tokenizer=None if english else UnicodeTokenizer(),
    )
    for kind in ("rouge1", "rouge2", "rougeL"):
        expected = [
            100 * max(scorer.score(reference, output)[kind].fmeasure for reference in own)
            for output, own in zip(OUTPUTS, REFERENCES, strict=True)
        ]
        assert found.f1[kind] == pytest.approx(expected)
    assert ("stemmer" in found.signature) is english


def test_words_of_every_script():
    tokenize = UnicodeTokenizer().tokenize
    assert tokenize("Größere Häuser: 3,5 m²!") == ["grössere", "häuser", "3", "5", "m²"]
    assert tokenize("我爱北京, Beijing") == ["我", "爱", "北", "京", "beijing"]
    assert tokenize("東京タワーへ行く") == list("東京タワーへ行く")
    assert tokenize("नमस्ते दुनिया") == ["नमस्ते", "दुनिया"]
    assert tokenize("안녕 세계") == ["안녕", "세계"]
    assert len(tokenize("สวัสดี")) == 6
    same = rouge_scores(["我喜欢喝茶"], [("我喜欢喝茶",)], language="zh")
    assert same.f1["rouge2"][0] == 100, "rouge-score's own tokenizer would give 0"


def test_ties_at_the_top_count_as_a_random_choice_would():
    scores = np.array(
        [
            [0.9, 0.9, 0.1],  # the right one tied with another
            [0.2, 0.8, 0.3],  # alone at the top
            [0.7, 0.5, 0.6],  # behind another
        ],
        dtype=np.float32,
    )
    assert chance_of_top(scores) == pytest.approx([0.5, 1.0, 0.0])
    assert chance_of_top(np.ones((4, 4), dtype=np.float32)) == pytest.approx([0.25] * 4)
    noise = np.array([[0.9, 0.9 + 3e-8], [0.0, 1.0]], dtype=np.float32)
    assert chance_of_top(noise) == pytest.approx([0.5, 1.0]), "rounding breaks no ties"


def test_recall_in_any_order_of_the_tied():
    scores = np.array([[0.9, 0.5, 0.5, 0.5, 0.1]], dtype=np.float32)
    assert recall(scores, [[0]], top=1) == [1.0]
    assert recall(scores, [[1]], top=1) == [0.0]
    assert recall(scores, [[1]], top=2) == pytest.approx([1 / 3])
    assert recall(scores, [[0, 1]], top=3) == pytest.approx([(1 + 2 / 3) / 2])
    assert recall(scores, [[4]], top=10) == [1.0]


def test_gain_is_that_of_scikit_learn():
    generator = np.random.default_rng(1)
    scores = generator.random((5, 40)).astype(np.float32)
    grades = [
        {
            int(place): float(grade)
            for place, grade in zip(generator.choice(40, 3, replace=False), (1, 2, 3), strict=True)
        }
        for _ in range(5)
    ]
    truth = np.zeros((5, 40))
    for row, own in enumerate(grades):
        for place, grade in own.items():
            truth[row, place] = grade
    expected = [metrics.ndcg_score(truth[[n]], scores[[n]], k=10) for n in range(5)]
    assert ndcg(scores, grades) == pytest.approx(expected, abs=1e-6)
    assert ndcg(np.full((1, 2), 0.5, dtype=np.float32), [{0: 1.0}]) == pytest.approx(
        [(1 + 1 / np.log2(3)) / 2]
    )


def test_isotropy_tells_a_cone_from_all_directions():
    generator = np.random.default_rng(2)
    even = generator.normal(size=(500, 16)).astype(np.float32)
    even /= np.linalg.norm(even, axis=1, keepdims=True)
    cone = even + 4
    cone /= np.linalg.norm(cone, axis=1, keepdims=True)
    assert isotropy(even) > 0.8
    assert isotropy(cone) < 0.5
