"""Which language is this text in (py3langid), among those that a model knows."""

from __future__ import annotations

import math
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache, lru_cache
from typing import TYPE_CHECKING, Final

from langchain_xlm.text.languages import likely_script, same_language
from langchain_xlm.text.names import read_subtags, standard_tag

if TYPE_CHECKING:
    from py3langid.langid import LanguageIdentifier

__all__ = ["Detection", "detect_language"]

SAMPLE_CHARS: Final = 4096  # from the start, the middle and the end of a long text
STRANGE: Final = 0.01  # share of the open vote below which a text is in none of the languages
_CHINESE: Final = ("zh-Hans", "zh-Hant")
_NO_CONTENT: Final = "zxx"
_loading: Final = threading.Lock()


@dataclass(frozen=True, slots=True)
class Detection:
    """The likeliest language of a text.

    Attributes:
        tag: BCP 47 tag, spelt as among the languages that were allowed.
        confidence: Share of the vote among the languages that were allowed, 0 to 1.
        outside: The language that the text is in when it is most likely in none of those
            allowed (Korean text, and the model knows no Korean); else None.
    """

    tag: str
    confidence: float
    outside: str | None = None


def detect_language(text: str, among: Sequence[str] | None = None) -> Detection | None:
    """Detect the language of a text; safe from any number of threads.

    Args:
        text: Any text. Of a long one, the start, the middle and the end are looked at.
        among: BCP 47 tags to choose from, as `ModelLanguages.tags`; None for all languages
            that py3langid knows. Of two scripts of one language, the script of the text's
            own letters decides.

    Returns:
        The likeliest, or None where nothing can be told: no letters, too few to go by, or
        none of the languages is known to py3langid.
    """
    sample = _sample(text)
    if not any(char.isalpha() for char in sample):
        return None
    shares = _vote(sample)
    if shares is None:
        return None
    candidates = _candidates(None if among is None else tuple(among))
    votes: dict[tuple[str, ...], list[float]] = {}
    for label, score in shares.items():
        if tags := candidates.get(label):
            votes.setdefault(tags, []).append(score)
    if not votes:
        return None
    # Far below the best, shares are 0 in floating point; their logarithms still compare.
    best = max(max(scores) for scores in votes.values())
    weights = {tags: sum(math.exp(s - best) for s in scores) for tags, scores in votes.items()}
    winner = max(weights, key=lambda tags: weights[tags])
    open_winner = max(shares, key=lambda label: shares[label])
    allowed = math.fsum(math.exp(s) for scores in votes.values() for s in scores)
    strange = allowed < STRANGE and not candidates.get(open_winner)
    return Detection(
        tag=winner[0] if len(winner) == 1 else _by_script(sample, winner),
        confidence=weights[winner] / sum(weights.values()),
        outside=_tag_of(open_winner) if strange else None,
    )


def _sample(text: str) -> str:
    if len(text) <= 3 * SAMPLE_CHARS:
        return text
    middle = (len(text) - SAMPLE_CHARS) // 2
    parts = (text[:SAMPLE_CHARS], text[middle : middle + SAMPLE_CHARS], text[-SAMPLE_CHARS:])
    return " ".join(parts)


def _vote(sample: str) -> dict[str, float] | None:
    """Score all languages at once; the shares of any few follow from these.

    The identifier's own restriction is a state shared by all threads, so it stays unused.

    Returns:
        The logarithm of each label's share, or None where no feature of the text is known.

    Source:
        The temperature, root of the bytes, is py3langid's own for calibrated probabilities.
    """
    ranking = _load_identifier().rank(sample)
    top, bottom = ranking[0][1], ranking[-1][1]
    if top == bottom:
        return None
    temperature = math.sqrt(len(sample.encode("utf-8", "surrogatepass")))
    scaled = {label: (s - top) / temperature for label, s in ranking if label != _NO_CONTENT}
    total = math.log(math.fsum(math.exp(score) for score in scaled.values()))
    return {label: score - total for label, score in scaled.items()}


def _load_identifier() -> LanguageIdentifier:
    with _loading:  # the cache alone would let two threads load it at once
        return _identifier()


@cache
def _identifier() -> LanguageIdentifier:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier

    return LanguageIdentifier.from_model_file(MODEL_FILE)


@lru_cache(maxsize=64)
def _candidates(among: tuple[str, ...] | None) -> dict[str, tuple[str, ...]]:
    """List for each label of py3langid the tags that it may stand for."""
    labels = {label: _tag_of(label) for label in _load_identifier().labels if label != _NO_CONTENT}
    if among is None:
        return {label: _CHINESE if tag == "zh" else (tag,) for label, tag in labels.items()}
    found: dict[str, tuple[str, ...]] = {}
    for label, tag in labels.items():
        same = [offered for offered in among if same_language(tag, offered)]
        exact = [offered for offered in same if offered.split("-")[0] == tag]
        scripts: dict[str | None, str] = {}
        for offered in sorted(exact or same, key=len):  # `pt` before `pt-BR`
            scripts.setdefault(likely_script(offered), offered)
        found[label] = tuple(scripts.values())
    return found


@lru_cache(maxsize=256)
def _tag_of(label: str) -> str:
    subtags = read_subtags(label)
    return label if subtags is None else standard_tag(subtags)


def _by_script(text: str, tags: tuple[str, ...]) -> str:
    """Choose among the scripts of one language by the letters of the text."""
    import regex

    def letters(tag: str) -> int:
        script = likely_script(tag)
        if script in _HAN_CHARSETS:
            mine, other = _HAN_CHARSETS[script]
            return sum(_has(mine, char) and not _has(other, char) for char in set(text))
        return len(regex.findall(rf"\p{{Script={script}}}", text)) if script else 0

    return max(tags, key=letters)


# GB 2312 holds the simplified characters and Big5 the traditional ones: what only one of the
# two can encode tells which the text is written in.
_HAN_CHARSETS: Final[dict[str | None, tuple[str, str]]] = {
    "Hans": ("gb2312", "big5"),
    "Hant": ("big5", "gb2312"),
}


def _has(charset: str, char: str) -> bool:
    try:
        char.encode(charset)
    except UnicodeEncodeError:
        return False
    return True
