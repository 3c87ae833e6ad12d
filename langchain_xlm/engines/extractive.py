"""Summaries made of the document's own sentences, in every language the encoder knows."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from langchain_xlm.engines.centrality import Scores, Vectors, choose_diverse, lexrank
from langchain_xlm.engines.encoder import Encoder
from langchain_xlm.engines.summary_length import SummaryLength
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.text.segments import Segment, split_sentences, split_to_fit
from langchain_xlm.text.spacing import fitting_gap
from langchain_xlm.text.words import count_words

ALREADY_SHORT = "already_short"
REPETITIONS = "repetitions_left_out"
TOO_LONG = "longer_than_asked"

# A sentence beyond this many words is cut at its clauses, so that a text without full stops
# still has parts to choose from. Sentences of living authors hardly reach it.
_LONGEST_SENTENCE_WORDS = 120
# Headings, list marks and interjections tell too little to stand in a summary, as long as there
# are fuller sentences.
_FRAGMENT_WORDS = 3
# Advantage of the first sentence of a document over the last.
_BEGINNING = 0.25
_SENTENCE_END = re.compile(r"[.!?…。！？｡؟۔।॥:;]['\"”’»)\]」』]*$")


@dataclass(frozen=True, slots=True)
class Extract:
    """Sentences chosen from a document.

    Attributes:
        text: The sentences joined, in the order of the document.
        indices: Their places among all sentences of the document.
        sentences: The sentences.
        scores: How central each is; the mean over the document's sentences is 1.
        ranked: Whether an encoder was asked; False if nothing had to be left out.
        flags: `already_short`, `repetitions_left_out`, `longer_than_asked`.
    """

    text: str
    indices: tuple[int, ...]
    sentences: tuple[str, ...]
    scores: tuple[float, ...]
    ranked: bool
    flags: tuple[str, ...] = ()


def extract_summary(
    encoder: Encoder, text: str, *, language: str | None, length: SummaryLength
) -> Flow[Extract]:
    """Choose the sentences that stand for a document.

    Sentences are ranked by continuous LexRank over their vectors, those at the beginning with a
    small advantage, and chosen by maximal marginal relevance (see `engines.centrality`). A
    sentence that stands several times in the document counts once. A document that is short
    enough comes back whole, and no model is loaded.

    Args:
        encoder: Makes the sentence vectors.
        text: The document, not blank.
        language: Its BCP 47 tag, for finding the sentences; None if unknown.
        length: How long the summary may be. If no sentence is short enough, the best one comes
            back whole, flagged.

    Yields:
        Futures to wait for.

    Returns:
        The chosen sentences.
    """
    segments = document_sentences(text, language)
    if length.allows([segment.text for segment in segments]):
        return _whole(text, segments)
    distinct = _first_occurrences(segments)
    flags = () if len(distinct) == len(segments) else (REPETITIONS,)
    if length.allows([segments[index].text for index in distinct]):
        scores = np.ones(len(distinct))
        return _extract(text, segments, distinct, scores, language, flags, ranked=False)
    words = [count_words(segments[index].text) for index in distinct]
    full = [place for place, count in enumerate(words) if count >= _FRAGMENT_WORDS]
    rows = full or list(range(len(distinct)))
    candidates = [distinct[row] for row in rows]
    embedded = yield from encoder.embed([segments[index].text for index in candidates])
    vectors = unit_length(embedded.vectors)
    centrality = lexrank(vectors)
    relevance = favour_beginning(centrality, candidates, count=len(segments))
    chosen = choose_diverse(
        vectors,
        relevance,
        lengths=[words[row] for row in rows],
        max_sentences=length.max_sentences,
        max_length=length.max_words,
    )
    if not chosen:
        chosen = [int(np.argmax(relevance))]
        flags = (*flags, TOO_LONG)
    chosen.sort()
    return _extract(
        text,
        segments,
        [candidates[place] for place in chosen],
        centrality[chosen] * len(candidates),
        language,
        flags,
        ranked=True,
    )


def favour_beginning(centrality: Scores, indices: Sequence[int], *, count: int) -> Scores:
    """Give the sentences at the beginning a small advantage: there a document says its topic.

    Args:
        centrality: Score of each candidate.
        indices: Its place in the document.
        count: How many sentences the document has.

    Returns:
        The scores, a quarter more for the first sentence, falling evenly to the last.

    Source:
        The position feature that Erkan and Radev 2004, section 5, join with LexRank; defined in
        Radev et al. 2004, section 3.3, https://doi.org/10.1016/j.ipm.2003.10.006
    """
    position = (count - np.asarray(indices, dtype=np.float64)) / count
    favoured: Scores = centrality * (1.0 + _BEGINNING * position)
    return favoured


def document_sentences(text: str, language: str | None) -> list[Segment]:
    """Find the sentences of a document, very long ones cut at their clauses.

    Args:
        text: The document.
        language: Its BCP 47 tag; None if unknown.

    Returns:
        The sentences in order.
    """
    sentences = split_sentences(text, language or "en")
    return split_to_fit(
        text,
        sentences,
        limit=_LONGEST_SENTENCE_WORDS,
        count=lambda texts: [count_words(each) for each in texts],
    )


def unit_length(vectors: Vectors) -> Vectors:
    """Scale vectors to length 1; a zero vector stays zero.

    Args:
        vectors: `(sentences, width)`.

    Returns:
        The same shape, float32.
    """
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Vectors = (vectors / np.maximum(lengths, 1e-12)).astype(np.float32)
    return scaled


def join_sentences(
    text: str, segments: Sequence[Segment], indices: Sequence[int], language: str | None
) -> str:
    """Join chosen sentences of a document.

    Neighbours keep what stands between them in the document. Others are joined by a space, by
    nothing in languages that write none, or by a line break behind a heading.

    Args:
        text: The document.
        segments: All its sentences.
        indices: The chosen ones, ascending.
        language: BCP 47 tag of the document; None if unknown.

    Returns:
        The joined text.
    """
    parts: list[str] = []
    for place, index in enumerate(indices):
        if place:
            before = segments[indices[place - 1]]
            if indices[place - 1] == index - 1:
                parts.append(text[before.end : segments[index].start])
            elif _SENTENCE_END.search(before.text):
                left, right = before.text, segments[index].text
                target = language or "en"
                parts.append(
                    fitting_gap(" ", before=left[-8:], left=left, right=right, target=target)
                )
            else:
                parts.append("\n")
        parts.append(segments[index].text)
    return "".join(parts)


def _whole(text: str, segments: Sequence[Segment]) -> Extract:
    return Extract(
        text=text,
        indices=tuple(range(len(segments))),
        sentences=tuple(segment.text for segment in segments),
        scores=(1.0,) * len(segments),
        ranked=False,
        flags=(ALREADY_SHORT,),
    )


def _extract(
    text: str,
    segments: Sequence[Segment],
    indices: list[int],
    scores: Scores,
    language: str | None,
    flags: tuple[str, ...],
    *,
    ranked: bool,
) -> Extract:
    return Extract(
        text=join_sentences(text, segments, indices, language),
        indices=tuple(indices),
        sentences=tuple(segments[index].text for index in indices),
        scores=tuple(round(float(score), 4) for score in scores),
        ranked=ranked,
        flags=flags,
    )


def _first_occurrences(segments: Sequence[Segment]) -> list[int]:
    seen: dict[str, int] = {}
    for index, segment in enumerate(segments):
        seen.setdefault(" ".join(segment.text.casefold().split()), index)
    return list(seen.values())
