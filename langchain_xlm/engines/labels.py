"""What the labels of a classifier mean: negative, neutral or positive, if they say so.

Only names that state their meaning are read. `LABEL_0` means positive in one checkpoint and
negative in the next, so such names are read where the publisher has documented them
(`DOCUMENTED_MEANINGS`) or the caller says what they mean, and stay as they are otherwise.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Literal, cast, get_args

from langchain_xlm.errors import ConfigurationError

Sentiment = Literal["negative", "neutral", "positive"]
SENTIMENTS: tuple[Sentiment, ...] = get_args(Sentiment)

UNKNOWN_MEANING = "unknown_label_meaning"
NOT_SENTIMENT = "not_sentiment_labels"
OTHER_LABELS = "other_labels"

# The words that checkpoints use as label names, by meaning.
_WORDS: dict[Sentiment, str] = {
    "negative": "neg negative negativ negativo negativa négatif negatif negatief olumsuz"
    " негативный отрицательный 负面 負面 消极 ネガティブ 부정",
    "neutral": "neu neut neutral neutro neutre netral neutraal nötr нейтральный 中性 中立"
    " ニュートラル 중립",
    "positive": "pos positive positiv positivo positiva positif positief olumlu"
    " позитивный положительный 正面 积极 ポジティブ 긍정",
}
_MEANING: dict[str, Sentiment] = {
    word: sentiment for sentiment, words in _WORDS.items() for word in words.split()
}
_DEGREE = re.compile(r"^(?:very|extremely|strongly|highly|slightly|somewhat|weakly|mildly|mostly) ")
_PLACEHOLDER = re.compile(r"label \d+|\d+")
_STARS = re.compile(r"(?:(?P<before>[1-5]) )?stars?(?: (?P<after>[1-5]))?|(?P<drawn>[★⭐]{1,5})")
# Reviews of 4 and 5 stars count as positive, of 1 and 2 as negative; 3 is neither.
# Source: Blitzer, Dredze and Pereira 2007, section 3, https://aclanthology.org/P07-1056/
_STAR_MEANING: dict[int, Sentiment] = {
    1: "negative",
    2: "negative",
    3: "neutral",
    4: "positive",
    5: "positive",
}

# Checkpoints whose configuration says only LABEL_n while their model card says what each means.
DOCUMENTED_MEANINGS: dict[str, tuple[Sentiment, ...]] = {
    "cardiffnlp/twitter-roberta-base-sentiment": ("negative", "neutral", "positive"),
    "cardiffnlp/twitter-xlm-roberta-base-sentiment": ("negative", "neutral", "positive"),
    "Davlan/naija-twitter-sentiment-afriberta-large": ("positive", "neutral", "negative"),
}


@dataclass(frozen=True, slots=True)
class LabelReading:
    """How the labels of one checkpoint are read.

    Attributes:
        names: The checkpoint's own names, in the order of its outputs.
        read_as: What each is read as: a sentiment, or its own name where it states none.
        flags: `unknown_label_meaning` for names such as LABEL_0 that nobody has explained,
            `not_sentiment_labels` for names that mean something other than sentiment,
            `other_labels` for a sentiment checkpoint that has further labels besides.
    """

    names: tuple[str, ...]
    read_as: tuple[str, ...]
    flags: tuple[str, ...] = ()

    def gather(self, scores: Mapping[str, float], *, exclusive: bool = True) -> dict[str, float]:
        """Join the scores of the labels that are read as the same.

        Args:
            scores: One score for each of `names`.
            exclusive: Whether exactly one label holds, so that probabilities add up; otherwise
                the greatest stands for all.

        Returns:
            One score for each different entry of `read_as`; negative, neutral and positive
            first, in this order.
        """
        joined: dict[str, float] = {}
        for name, meaning in zip(self.names, self.read_as, strict=True):
            before = joined.get(meaning, 0.0)
            joined[meaning] = before + scores[name] if exclusive else max(before, scores[name])
        first = [sentiment for sentiment in SENTIMENTS if sentiment in joined]
        return {name: joined[name] for name in [*first, *(n for n in joined if n not in first)]}


def read_labels(
    names: Sequence[str], *, model: str, meanings: Mapping[str, str] | None = None
) -> LabelReading:
    """Read the label names of a checkpoint.

    A checkpoint counts as one for sentiment if both negative and positive are among its
    labels, in any case and in the common abbreviations and languages, or if its labels are the
    five star ratings. Degrees ("very negative") count with what they qualify; ratings of 1 and
    2 stars count as negative, 3 as neutral, 4 and 5 as positive.

    Args:
        names: The checkpoint's label names, in the order of its outputs.
        model: Hub id or folder, looked up among the documented checkpoints.
        meanings: What the caller says the labels mean; goes before everything else.

    Returns:
        The reading; where the names state no sentiment they are read as themselves.

    Raises:
        ConfigurationError: `meanings` names a label that the checkpoint does not have, or a
            meaning that is none of negative, neutral and positive.
    """
    names = tuple(names)
    if meanings is not None:
        return _read_as_told(names, meanings, model=model)
    plain = [_plain(name) for name in names]
    if all(_PLACEHOLDER.fullmatch(name) for name in plain):
        documented = DOCUMENTED_MEANINGS.get(model, ())
        if len(documented) == len(names):
            return LabelReading(names, documented)
        return LabelReading(names, names, (UNKNOWN_MEANING,))
    stars = [_star(name) for name in plain]
    if sorted(star or 0 for star in stars) == list(_STAR_MEANING):
        return LabelReading(names, tuple(_STAR_MEANING[star] for star in stars if star))
    found = [_MEANING.get(_DEGREE.sub("", name)) for name in plain]
    if not {"negative", "positive"} <= set(found):
        return LabelReading(names, names, (NOT_SENTIMENT,))
    read_as = tuple(meaning or name for meaning, name in zip(found, names, strict=True))
    return LabelReading(names, read_as, (OTHER_LABELS,) if None in found else ())


def _read_as_told(
    names: tuple[str, ...], meanings: Mapping[str, str], *, model: str
) -> LabelReading:
    for label, meaning in meanings.items():
        if label not in names:
            raise ConfigurationError(
                f"{model!r} has no label {label!r}; its labels are {', '.join(names)}."
            )
        if meaning not in SENTIMENTS:
            raise ConfigurationError(
                f"Label {label!r} cannot mean {meaning!r}: choose negative, neutral or positive."
            )
    read_as = tuple(meanings.get(name, name) for name in names)
    flags = (OTHER_LABELS,) if set(names) - set(meanings) else ()
    return LabelReading(names, read_as, flags)


def _plain(name: str) -> str:
    spaced = re.sub(r"[\s_\-]+", " ", unicodedata.normalize("NFKC", name))
    return spaced.strip().casefold()


def _star(name: str) -> int | None:
    match = _STARS.fullmatch(name)
    if match is None:
        return None
    if match["drawn"]:
        return len(match["drawn"])
    number = cast("str | None", match["before"] or match["after"])
    return int(number) if number and not (match["before"] and match["after"]) else None
