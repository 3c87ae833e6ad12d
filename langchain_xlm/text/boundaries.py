"""Where a text may be cut: at lines, sentences, clauses, words, characters, in this order."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import regex

__all__ = ["LINE_BREAK", "cut_evenly", "sentence_spans", "trimmed"]

LINE_BREAK: Final = regex.compile(r"[\n\r\v\f\x1c-\x1e\x85\u2028\u2029]+")

# sentencex needs quadratic time for many opened and never closed quotes, so that a long line
# is read through a window; a sentence longer than the window is carried on into the next.
_WINDOW_CHARS: Final = 1000
_SURROGATE: Final = regex.compile("[\ud800-\udfff]")
_WORD: Final = regex.compile(r"[\p{L}\p{N}]")
# "M. Dupont", "J. R. R. Tolkien", "3. Oktober": what follows belongs to it.
_ABBREVIATED: Final = regex.compile(r"(?:.*[\s(])?\p{Lu}\.\s*|\s*\d{1,3}\.\s*", regex.DOTALL)

_CLOSING: Final = r"[\p{Pe}\p{Pf}\"']*"
# Cuts behind each match, best kind first. Space that a combining mark sits on is not cut off.
_BREAKS: Final = (
    regex.compile(
        rf"\p{{Sentence_Terminal}}{_CLOSING}\s+(?!\p{{M}})|[。！？｡．።။។।]{_CLOSING}(?!\p{{M}})"
        rf"|[,;:،؛፣၊–—]{_CLOSING}\s+(?!\p{{M}})|[、，；：—]+(?!\p{{M}})"
    ),
    regex.compile(r"\s+(?!\p{M})"),
)
_CHARACTER: Final = regex.compile(r"\X")
_NEAR_CHARS: Final = 128  # how far around an even cut the border of two characters is looked for
_FLAG_LETTERS: Final = "".join(map(chr, range(0x1F1E6, 0x1F200)))


def sentence_spans(text: str, language: str) -> Iterator[tuple[int, int]]:
    """Yield start and end of each sentence, spaces trimmed, lines never joined.

    Args:
        text: Any text.
        language: BCP 47 tag; for unknown ones sentencex falls back to general rules.

    Yields:
        Ascending spans that hold every character but whitespace.
    """
    start = 0
    for line_break in LINE_BREAK.finditer(text):
        yield from _line_spans(text, start, line_break.start(), language)
        start = line_break.end()
    yield from _line_spans(text, start, len(text), language)


def trimmed(text: str, start: int, end: int) -> tuple[int, int]:
    """Return the span without the whitespace at its ends; empty where nothing is left."""
    piece = text[start:end]
    left = len(piece) - len(piece.lstrip())
    return start + left, max(start + left, start + len(piece.rstrip()))


def cut_evenly(text: str, start: int, end: int, parts: int) -> list[int]:
    """Choose cuts that divide a span into about equal parts.

    Near each even cut, the end of a clause is preferred to a space, a space to the border of
    two characters as a reader sees them (combining marks and joined emoji stay whole), and
    only inside an endless such character a code point.

    Args:
        text: The text.
        start: Where the span starts; the border of a character.
        end: Where it ends.
        parts: How many parts, from 2 to the length of the span.

    Returns:
        Ascending positions inside the span, at least one, at most `parts - 1`.
    """
    size = (end - start) / parts
    cuts: list[int] = []
    last = start
    for i in range(1, parts):
        target = start + round(i * size)
        reach = max(1, int(size / 2))
        low, high = max(last + 1, target - reach), min(end - 1, target + reach)
        if low > high:
            continue
        last = _best_cut(text, last, low, high, min(max(target, low), high))
        cuts.append(last)
    return cuts


def _best_cut(text: str, last: int, low: int, high: int, target: int) -> int:
    for breaks, share in zip(_BREAKS, (0.5, 1.0), strict=True):
        # A clause far from the even cut would leave one part too small.
        left, right = (target - int((target - low) * share), target + int((high - target) * share))
        # One character of context on the left, so that punctuation just before counts.
        ends = (m.end() for m in breaks.finditer(text, max(last, left - 2), right))
        found = [position for position in ends if left <= position]
        if found:
            return min(found, key=lambda position: abs(position - target))
    return _character_border(text, last, low, high, target)


def _character_border(text: str, last: int, low: int, high: int, target: int) -> int:
    """Find the border of two characters that is nearest to a target, else the target itself."""
    low, high = max(low, target - _NEAR_CHARS), min(high, target + _NEAR_CHARS)
    start = max(last, low - _NEAR_CHARS)
    # In a row of flags, each of two code points, only counting tells where one starts.
    row = text[last:start]
    start -= (len(row) - len(row.rstrip(_FLAG_LETTERS))) % 2
    # A slice, because the engine looks back over the whole row of flags at each of them.
    borders = [start + m.end() for m in _CHARACTER.finditer(text[start : high + _NEAR_CHARS])]
    # The search may start or end inside a character, so its first and last border do not count.
    known = borders[1 if start > last else 0 : -1]
    within = [position for position in known if low <= position <= high]
    return min(within, key=lambda position: abs(position - target), default=target)


def _line_spans(text: str, start: int, end: int, language: str) -> Iterator[tuple[int, int]]:
    first, end = trimmed(text, start, end)
    if first >= end:
        return
    spans: list[tuple[int, int]] = []
    for stop in _sentence_ends(text[first:end], language):
        span = trimmed(text, spans[-1][1] if spans else first, first + stop)
        if span[0] == span[1]:
            continue
        if spans and _joins(text, spans[-1], span):
            spans[-1] = (spans[-1][0], span[1])
        else:
            spans.append(span)
    yield from spans


def _joins(text: str, left: tuple[int, int], right: tuple[int, int]) -> bool:
    # A part without a letter or digit ("…", "😀") belongs to the sentence before it. Of that
    # sentence only the end matters: looking at all of it would be quadratic.
    tail = text[max(left[0], left[1] - 8) : left[1]]
    return _WORD.search(text, *right) is None or _ABBREVIATED.fullmatch(tail) is not None


def _sentence_ends(line: str, language: str) -> Iterator[int]:
    from sentencex import segment

    code = language.replace("_", "-").split("-")[0].lower()
    position = 0
    while position < len(line):
        window = line[position : position + _WINDOW_CHARS]
        sentences = segment(code, _SURROGATE.sub("\ufffd", window))
        if sum(map(len, sentences)) != len(window):  # not a division of the text
            sentences = [window]
        # The last may go on behind the window. Alone in it, it surely does.
        at_end = position + len(window) == len(line)
        kept = sentences if at_end else sentences[:-1]
        for sentence in kept:
            position += len(sentence)
            yield position
        if not kept:
            position += len(window)
