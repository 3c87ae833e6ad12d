"""The training sentences: read, cleaned, split and indexed by their English side."""

from __future__ import annotations

import csv
import hashlib
import json
import random
import re
from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from training.recipe import CorpusRecipe

TATOEBA = {
    "deu": "de",
    "fra": "fr",
    "spa": "es",
    "jpn": "ja",
    "nld": "nl",
    "tur": "tr",
    "cmn": "zh",
    "ara": "ar",
    "vie": "vi",
    "kor": "ko",
    "hin": "hi",
}
TRANSLATED = ("de", "fr", "es", "nl", "ja", "tr", "zh")
LABELS = ("negative", "neutral", "positive")
UNSPACED = frozenset({"ja", "zh", "th"})
XED_LANGUAGES = {"br": "pt", "cn": "zh", "tw": "zh"}

_SPACE = re.compile(r"\s+")
_NOT_WORD = re.compile(r"[\W_]+")


@dataclass(frozen=True)
class Pair:
    """A sentence and its English side.

    Attributes:
        english: Position of the English side in `Corpus.english`.
        text: The sentence in the other language.
    """

    english: int
    text: str


@dataclass(frozen=True)
class Labelled:
    """A text with its polarity: a position in `LABELS`."""

    text: str
    label: int


@dataclass(frozen=True)
class Corpus:
    """Everything that is learnt from, and the development split.

    Attributes:
        english: Distinct English texts, the keys of the teacher's vectors.
        sentences: Pairs of every language, one sentence each.
        joined: Pairs of every language, several sentences each.
        english_only: Positions of English texts that come without a translation.
        dev: Pairs kept aside, `(English, other)`, of every Tatoeba language.
    """

    english: list[str]
    sentences: dict[str, list[Pair]]
    joined: dict[str, list[Pair]]
    english_only: list[int]
    dev: dict[str, list[tuple[str, str]]]


def clean(text: str) -> str:
    """Put a text on one line with single spaces."""
    return _SPACE.sub(" ", text).strip()


def key(text: str) -> str:
    """Give what two spellings of one sentence share: case, punctuation and spaces left out."""
    return _NOT_WORD.sub("", text.casefold())


def rank(text: str, seed: int) -> int:
    """Give a text a seeded number below 2**64 that depends on nothing but its `key`."""
    digest = hashlib.blake2b(f"{seed}\t{key(text)}".encode(), digest_size=8).digest()
    return int.from_bytes(digest, "big")


def is_held_out(text: str, recipe: CorpusRecipe) -> bool:
    """Say whether a labelled text belongs to the held-out part."""
    return rank(text, recipe.seed) < recipe.held_out_fraction * 2**64


def _rows(path: Path) -> Iterator[list[str]]:
    """Read a TSV file in which quotes mean nothing."""
    with path.open(encoding="utf-8", newline="") as lines:
        yield from csv.reader(lines, delimiter="\t", quoting=csv.QUOTE_NONE)


def _read_pairs(path: Path, recipe: CorpusRecipe) -> list[tuple[str, str]]:
    """Read distinct `(English, other)` pairs of a file, in order."""
    pairs: dict[tuple[str, str], None] = {}
    for row in _rows(path):
        english, other = clean(row[0]), clean(row[1])
        if english and other and len(english) + len(other) <= 2 * recipe.max_characters:
            pairs[english, other] = None
    kept = list(pairs)
    if recipe.max_pairs_per_file and len(kept) > recipe.max_pairs_per_file:
        kept = random.Random(recipe.seed).sample(kept, recipe.max_pairs_per_file)
    return kept


def _split_dev(
    tatoeba: dict[str, list[tuple[str, str]]], recipe: CorpusRecipe
) -> dict[str, list[tuple[str, str]]]:
    """Choose the development pairs: the English sides of lowest rank, one pair of each."""
    dev: dict[str, list[tuple[str, str]]] = {}
    for language, pairs in tatoeba.items():
        small = len(pairs) < recipe.small_language
        wanted = recipe.dev_sentences_small if small else recipe.dev_sentences
        chosen: dict[str, tuple[str, str]] = {}
        for english, other in sorted(pairs, key=lambda pair: rank(pair[0], recipe.seed)):
            chosen.setdefault(key(english), (english, other))
            if len(chosen) == wanted:
                break
        dev[language] = list(chosen.values())
    return dev


def _english_only(data: Path, recipe: CorpusRecipe) -> list[str]:
    """Read English texts that have no translation: subtitles, reviews, abstracts, articles."""
    texts: list[str] = []
    for name in ("xed/xed.en.annotated.tsv", "xed/xed.en.projected.tsv"):
        texts += [clean(row[1]) for row in _rows(data / name) if len(row) > 1]
    texts += [clean(row[1]) for row in _rows(data / "sentiment/en_uci_labelled.tsv")]
    texts = [text for text in texts if not is_held_out(text, recipe)]
    with (data / "summarization/en_scitldr.train.jsonl").open(encoding="utf-8") as lines:
        for line in lines:
            article = json.loads(line)
            sentences = [clean(sentence) for sentence in article["sentences"]]
            texts += sentences + [clean(summary) for summary in article["summary"]]
            texts += [" ".join(sentences[i : i + 3]) for i in range(0, len(sentences) - 2, 3)]
    if recipe.max_english_only:
        texts = random.Random(recipe.seed).sample(texts, recipe.max_english_only)
    return [text for text in texts if 2 < len(text) <= recipe.max_characters]


def _join(texts: list[str], language: str) -> str:
    """Write sentences one after the other as the language does."""
    return ("" if language in UNSPACED else " ").join(texts)


def read_corpus(data: Path, recipe: CorpusRecipe) -> Corpus:
    """Read all translation pairs and English texts that may be trained on.

    Args:
        data: The data folder, with `train` inside.
        recipe: What to keep, and the seed of every choice.

    Returns:
        The corpus; the same for the same data and recipe.
    """
    train = data / "train"
    chooser = random.Random(recipe.seed)
    tatoeba = {
        language: _read_pairs(train / "tatoeba" / f"{name}-eng.train.tsv", recipe)
        for name, language in TATOEBA.items()
    }
    dev = _split_dev(tatoeba, recipe)
    kept_aside = {key(text) for pairs in dev.values() for pair in pairs for text in pair}

    ids: dict[str, int] = {}
    sentences: dict[str, list[Pair]] = defaultdict(list)
    joined: dict[str, list[Pair]] = defaultdict(list)

    def add(pairs: list[Pair], english: str, text: str) -> None:
        pairs.append(Pair(ids.setdefault(english, len(ids)), text))

    for language, pairs in tatoeba.items():
        for english, text in pairs:
            if key(english) not in kept_aside and key(text) not in kept_aside:
                add(sentences[language], english, text)
    for path in sorted((train / "tico19").glob("*.tsv")):
        language = path.stem.removesuffix("-en").split("-")[0]
        for english, text in _read_pairs(path, recipe):
            add(sentences[language], english, text)
    for path in sorted((train / "storybooks").glob("*.tsv")):
        language = path.stem.removesuffix("-en")
        pages = _read_pairs(path, recipe)
        for english, text in pages:
            add(sentences[language], english, text)
        for first in range(0, len(pages) - 1, 2):
            texts = pages[first : first + 2]
            english = " ".join(page[0] for page in texts)
            add(joined[language], english, _join([page[1] for page in texts], language))

    texts_of = list(ids)
    for language in (*TRANSLATED, "ar", "vi", "ko", "hi", "ru"):
        available = sentences[language]
        weight = 0.6 if language not in TRANSLATED else 1.0
        for _ in range(int(weight * recipe.joined_texts / 10)):
            parts = chooser.sample(available, chooser.choice((2, 2, 2, 3, 3, 4)))
            english = " ".join(texts_of[part.english] for part in parts)
            text = _join([part.text for part in parts], language)
            if len(english) <= recipe.max_characters:
                add(joined[language], english, text)

    english_only = [ids.setdefault(text, len(ids)) for text in _english_only(train, recipe)]
    return Corpus(list(ids), dict(sentences), dict(joined), english_only, dev)


def sentiment_sources(data: Path) -> dict[str, Path]:
    """Name every file with polarities."""
    train = data / "train"
    paths = {path.stem: path for path in sorted((train / "xed").glob("*.tsv"))}
    paths |= {path.stem: path for path in sorted((train / "sentiment").glob("*.tsv"))}
    return paths


def read_sentiment(
    data: Path, recipe: CorpusRecipe
) -> tuple[dict[str, list[Labelled]], dict[str, list[Labelled]]]:
    """Read the labelled texts of every source, split by a hash of the text.

    A text of one spelling, whatever its source, is always on the same side of the split.

    Args:
        data: The data folder, with `train` inside.
        recipe: The seed and the fraction held out.

    Returns:
        Texts to train on and texts held out, by source.
    """
    train: dict[str, list[Labelled]] = {}
    held_out: dict[str, list[Labelled]] = {}
    for source, path in sentiment_sources(data).items():
        seen: dict[str, Labelled] = {}
        for row in _rows(path):
            text = clean(row[1]) if len(row) > 1 else ""
            if key(text) and row[0] in LABELS:
                seen.setdefault(key(text), Labelled(text, LABELS.index(row[0])))
        texts = list(seen.values())
        if recipe.max_pairs_per_file:
            wanted = min(len(texts), 4 * recipe.max_pairs_per_file)
            texts = random.Random(recipe.seed).sample(texts, wanted)
        held_out[source] = [text for text in texts if is_held_out(text.text, recipe)]
        train[source] = [text for text in texts if not is_held_out(text.text, recipe)]
    return train, held_out
