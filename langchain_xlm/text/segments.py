"""Texts cut into sentences and pieces that fit a window, and put back together."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

from langchain_xlm.errors import InputError
from langchain_xlm.text.boundaries import LINE_BREAK, cut_evenly, sentence_spans, trimmed
from langchain_xlm.text.spacing import fitting_gap

__all__ = ["Count", "Segment", "pack", "reassemble", "split_sentences", "split_to_fit"]

Count = Callable[[Sequence[str]], list[int]]
"""Counts the tokens of each text as the model would see it; called with many at once."""

# No more than this many characters for each token of the limit are counted in one string:
# what is longer is cut first, so that no tokenizer meets a word of a megabyte.
_CHARS_PER_TOKEN: Final = 8
_FILL: Final = 0.9  # parts are planned a little below the limit, as tokens are not spread evenly


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a text: `text == source[start:end]`, without whitespace at its ends.

    Attributes:
        text: The part.
        start: Where it starts in the source, in code points.
        end: Where it ends.
    """

    text: str
    start: int
    end: int


def split_sentences(text: str, language: str = "en") -> list[Segment]:
    """Split a text into sentences.

    Args:
        text: Any text.
        language: BCP 47 tag of its language, for abbreviations and punctuation.

    Returns:
        Sentences in order. Line breaks always separate; every character but whitespace lies in
        exactly one sentence; what is only whitespace is left to the gaps.
    """
    return [Segment(text[a:b], a, b) for a, b in sentence_spans(text, language)]


def split_to_fit(
    text: str, segments: Sequence[Segment], *, limit: int, count: Count
) -> list[Segment]:
    """Cut every segment that is too long for a model into parts that fit.

    The parts of one segment are of about equal length and end at clauses where there are any,
    else at spaces, else between characters as a reader sees them. The time is nearly linear
    in the text, also without a single space.

    Args:
        text: The source.
        segments: Parts of it, in order.
        limit: Most tokens of one part, counted as `count` does.
        count: Token counts of some texts.

    Returns:
        Segments in order that hold the same characters but whitespace, each within the limit.

    Raises:
        InputError: One character alone takes more tokens than the limit.
    """
    fitting: list[Segment] = []
    waiting: list[Segment] = []
    for segment in segments:
        parts = math.ceil(len(segment.text) / (_CHARS_PER_TOKEN * max(limit, 1)))
        waiting += [segment] if parts == 1 else _cut(text, segment, parts)
    while waiting:
        too_long: list[Segment] = []
        for segment, tokens in zip(waiting, count([s.text for s in waiting]), strict=True):
            if tokens <= limit:
                fitting.append(segment)
                continue
            if len(segment.text) == 1:
                raise InputError(
                    f"The character {segment.text!r} at position {segment.start} takes {tokens}"
                    f" tokens, more than the {limit} that fit. Use a model with a longer window."
                )
            parts = max(2, math.ceil(tokens / (_FILL * max(limit, 1))))
            too_long += _cut(text, segment, min(parts, len(segment.text)))
        waiting = too_long
    return sorted(fitting, key=lambda segment: segment.start)


def pack(
    text: str,
    segments: Sequence[Segment],
    *,
    limit: int,
    count: Count,
    across_lines: bool = True,
) -> list[Segment]:
    """Join neighbours, with the original gap between them, while they fit.

    Args:
        text: The source.
        segments: Parts of it, in order.
        limit: Most tokens of one joined part, counted as `count` does.
        count: Token counts of some texts.
        across_lines: False joins nothing over a line break, so that `reassemble` still has
            all of them in its gaps.

    Returns:
        Fewer or as many segments, in order. One that was too long alone stays as it was.
    """
    if not segments:
        return []
    gaps = [text[a.end : b.start] for a, b in pairwise(segments)]
    kinds = list(dict.fromkeys(gap for gap in gaps if gap.strip(" ")))
    special, *counts = count(["", *(s.text for s in segments), *kinds])
    sizes = [tokens - special for tokens in counts]  # special tokens come once a part
    gap_sizes = dict(zip(kinds, sizes[len(segments) :], strict=True))

    groups = [[0]]
    filled = special + sizes[0]
    for i, gap in enumerate(gaps, start=1):
        grown = filled + gap_sizes.get(gap, 0) + sizes[i]
        if grown <= limit and (across_lines or LINE_BREAK.search(gap) is None):
            groups[-1].append(i)
            filled = grown
        else:
            groups.append([i])
            filled = special + sizes[i]
    return _confirm(text, segments, groups, limit=limit, count=count)


def reassemble(
    source: str,
    segments: Sequence[Segment],
    replacements: Sequence[str],
    *,
    target: str | None = None,
) -> str:
    """Put replaced segments back between the gaps of the source.

    Args:
        source: The text that was cut.
        segments: Its parts, in order.
        replacements: What stands for each part now.
        target: BCP 47 tag of the replacements' language. Where it is given, the space between
            two sentences follows the target: none in Chinese and Japanese, one elsewhere. None
            keeps every gap as it was.

    Returns:
        The text with the line breaks, indents and order of the source; the source itself when
        each part is replaced by itself and no target is given.
    """
    pieces: list[str] = []
    for i, (segment, new) in enumerate(zip(segments, replacements, strict=True)):
        gap = source[segments[i - 1].end if i else 0 : segment.start]
        if i and target is not None:
            gap = fitting_gap(
                gap,
                before=segments[i - 1].text[-8:],
                left=replacements[i - 1],
                right=new,
                target=target,
            )
        pieces += (gap, new)
    pieces.append(source[segments[-1].end if segments else 0 :])
    return "".join(pieces)


def _cut(text: str, segment: Segment, parts: int) -> list[Segment]:
    borders = [segment.start, *cut_evenly(text, segment.start, segment.end, parts), segment.end]
    spans = (trimmed(text, a, b) for a, b in pairwise(borders))
    return [Segment(text[a:b], a, b) for a, b in spans if a < b]


def _confirm(
    text: str, segments: Sequence[Segment], groups: list[list[int]], *, limit: int, count: Count
) -> list[Segment]:
    """Count each joined part; one that grew by being joined is halved until it fits."""
    done: list[Segment] = []
    while groups:
        spans = [(segments[group[0]].start, segments[group[-1]].end) for group in groups]
        joined = [Segment(text[a:b], a, b) for a, b in spans]
        halves: list[list[int]] = []
        several = [i for i, group in enumerate(groups) if len(group) > 1]
        counted = dict(zip(several, count([joined[i].text for i in several]), strict=True))
        for i, group in enumerate(groups):
            if counted.get(i, 0) <= limit:
                done.append(joined[i])
            else:
                middle = len(group) // 2
                halves += (group[:middle], group[middle:])
        groups = halves
    return sorted(done, key=lambda segment: segment.start)
