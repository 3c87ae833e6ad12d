"""Texts to pieces that fit a model's window, some at a time."""

from __future__ import annotations

from collections.abc import Iterator

from langchain_xlm.text.segments import Count, Segment, pack, split_sentences, split_to_fit

# How much of a long text is split at a time, and how many pieces are handed on at a time, so
# that a bulk request does not hold a model's thread for long.
_BLOCK_CHARACTERS = 20_000
_PIECES = 64


def cut_pieces(
    text: str, language: str, *, limit: int, count: Count, packed: bool
) -> Iterator[list[Segment]]:
    """Cut a text into sentences, or what fits of them, with places in the whole text.

    Args:
        text: Any length.
        language: BCP 47 tag that chooses the rules of sentence ends.
        limit: Most tokens of a piece.
        count: Counts the tokens of some texts.
        packed: Whether neighbouring sentences are joined while they fit.

    Yields:
        Some pieces, in the order of the text.
    """
    for start, end in _blocks(text):
        block = text[start:end]
        segments = split_sentences(block, language)
        segments = split_to_fit(block, segments, limit=limit, count=count)
        if packed:
            segments = pack(block, segments, limit=limit, count=count)
        for first in range(0, len(segments), _PIECES):
            yield [
                Segment(segment.text, start + segment.start, start + segment.end)
                for segment in segments[first : first + _PIECES]
            ]


def _blocks(text: str) -> Iterator[tuple[int, int]]:
    """Cut a long text at line breaks, which separate sentences in any case."""
    start = 0
    while start < len(text):
        end = start + _BLOCK_CHARACTERS
        end = len(text) if end >= len(text) else text.find("\n", end) + 1 or len(text)
        yield start, end
        start = end
