"""Label names are read where they state a sentiment, and left alone where they do not."""

from __future__ import annotations

import pytest

from langchain_xlm.engines.labels import DOCUMENTED_MEANINGS, read_labels
from langchain_xlm.errors import ConfigurationError


@pytest.mark.parametrize(
    "names",
    [
        ("negative", "neutral", "positive"),
        ("Negative", "Neutral", "Positive"),
        ("NEG", "NEU", "POS"),
        ("negativ", "neutral", "positiv"),
        ("Olumsuz", "Nötr", "Olumlu"),
        ("ネガティブ", "ニュートラル", "ポジティブ"),
        ("ＮＥＧ", " neutral ", "Positive"),
    ],
)
def test_spellings_of_the_three_sentiments(names: tuple[str, ...]) -> None:
    reading = read_labels(names, model="m")
    assert reading.read_as == ("negative", "neutral", "positive")
    assert reading.names == names
    assert reading.flags == ()


def test_order_is_the_checkpoints() -> None:
    reading = read_labels(("POS", "NEG"), model="m")
    assert reading.read_as == ("positive", "negative")
    assert reading.gather({"POS": 0.9, "NEG": 0.1}) == {"negative": 0.1, "positive": 0.9}


@pytest.mark.parametrize(
    "names",
    [
        ("1 star", "2 stars", "3 stars", "4 stars", "5 stars"),
        ("star_1", "star_2", "star_3", "star_4", "star_5"),
        ("★", "★★", "★★★", "★★★★", "★★★★★"),
    ],
)
def test_stars_are_gathered(names: tuple[str, ...]) -> None:
    reading = read_labels(names, model="m")
    scores = dict(zip(names, (0.125, 0.25, 0.0625, 0.5, 0.0625), strict=True))
    assert reading.gather(scores) == {"negative": 0.375, "neutral": 0.0625, "positive": 0.5625}
    assert reading.flags == ()


def test_four_or_ten_stars_are_not_guessed() -> None:
    for count in (4, 10):
        names = tuple(f"{n} stars" for n in range(1, count + 1))
        reading = read_labels(names, model="m")
        assert reading.read_as == names
        assert reading.flags == ("not_sentiment_labels",)


def test_degrees_count_with_what_they_qualify() -> None:
    names = ("Very Negative", "Negative", "Neutral", "Positive", "extremely-positive")
    reading = read_labels(names, model="m")
    assert reading.read_as == ("negative", "negative", "neutral", "positive", "positive")


def test_placeholders_are_not_guessed() -> None:
    names = ("LABEL_0", "LABEL_1", "LABEL_2")
    reading = read_labels(names, model="someone/somewhere")
    assert reading.read_as == names
    assert reading.flags == ("unknown_label_meaning",)


def test_placeholders_of_documented_checkpoints() -> None:
    names = ("LABEL_0", "LABEL_1", "LABEL_2")
    read = read_labels(names, model="cardiffnlp/twitter-roberta-base-sentiment").read_as
    assert read == ("negative", "neutral", "positive")
    read = read_labels(names, model="Davlan/naija-twitter-sentiment-afriberta-large").read_as
    assert read == ("positive", "neutral", "negative")
    # A head of another size is not the documented one.
    cut = read_labels(names[:2], model="cardiffnlp/twitter-roberta-base-sentiment")
    assert cut.flags == ("unknown_label_meaning",)


def test_stated_names_go_before_the_documented_order() -> None:
    names = ("positive", "neutral", "negative")
    read = read_labels(names, model="cardiffnlp/twitter-xlm-roberta-base-sentiment").read_as
    assert read == names


@pytest.mark.parametrize(
    "names",
    [
        ("toxic", "neutral"),
        ("entailment", "neutral", "contradiction"),
        ("sports", "politics"),
        ("joy", "anger", "neutral"),
        ("positive", "unlabelled"),
    ],
)
def test_other_labels_keep_their_names(names: tuple[str, ...]) -> None:
    reading = read_labels(names, model="m")
    assert reading.read_as == names
    assert reading.flags == ("not_sentiment_labels",)


def test_further_labels_of_a_sentiment_checkpoint() -> None:
    reading = read_labels(("NEG", "POS", "speech"), model="m")
    assert reading.read_as == ("negative", "positive", "speech")
    assert reading.flags == ("other_labels",)
    gathered = reading.gather({"NEG": 0.2, "POS": 0.3, "speech": 0.5})
    assert list(gathered) == ["negative", "positive", "speech"]


def test_the_caller_says_what_they_mean() -> None:
    told = {"LABEL_0": "positive", "LABEL_1": "negative"}
    reading = read_labels(("LABEL_0", "LABEL_1"), model="m", meanings=told)
    assert reading.read_as == ("positive", "negative")
    assert reading.flags == ()
    partly = read_labels(("LABEL_0", "LABEL_1", "LABEL_2"), model="m", meanings=told)
    assert partly.flags == ("other_labels",)


@pytest.mark.parametrize(
    ("meanings", "named"), [({"LABEL_7": "negative"}, "LABEL_7"), ({"LABEL_0": "bad"}, "bad")]
)
def test_wrong_meanings_are_refused(meanings: dict[str, str], named: str) -> None:
    with pytest.raises(ConfigurationError, match=named):
        read_labels(("LABEL_0", "LABEL_1"), model="m", meanings=meanings)


def test_every_documented_checkpoint_names_each_sentiment_once() -> None:
    for model, meanings in DOCUMENTED_MEANINGS.items():
        assert len(set(meanings)) == len(meanings), model
