"""Rows of tokens: texts cut to the window, rows padded to a rectangle."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from langchain_xlm.text.detection import detect_language
from langchain_xlm.text.segments import Count, Segment, pack, split_sentences, split_to_fit

if TYPE_CHECKING:
    import torch

# Enough of a text to tell its language, which only chooses the rules of sentence ends.
_DETECTION_CHARACTERS = 2_000


def pad_rows(
    rows: Sequence[Sequence[int]], pad_id: int, device: torch.device
) -> tuple[torch.Tensor, torch.Tensor]:
    """Make a rectangle of rows of different lengths, padded behind.

    Args:
        rows: Token ids of each row, at least one row.
        pad_id: Fills the rest of a row.
        device: Where the tensors go.

    Returns:
        Ids and mask, both `(rows, longest row)`, int64; the mask is 1 for a token and 0 for
        padding.
    """
    import torch

    lengths = torch.tensor([len(row) for row in rows])
    ids = torch.full((len(rows), int(lengths.max())), pad_id)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = torch.tensor(row, dtype=torch.long)
    mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
    return ids.to(device), mask.to(device)


def cut_to_window(text: str, window: int, count: Count) -> list[Segment]:
    """Cut a text at sentence borders into as few pieces as fit a model's window.

    Args:
        text: Any text.
        window: Most tokens of one piece, counted as `count` does.
        count: Token counts of some texts, with everything that goes around each.

    Returns:
        The pieces in order; every character but whitespace is in one of them.
    """
    found = detect_language(text[:_DETECTION_CHARACTERS])
    sentences = split_sentences(text, found.tag if found else "en")
    fitting = split_to_fit(text, sentences, limit=window, count=count)
    return pack(text, fitting, limit=window, count=count)
