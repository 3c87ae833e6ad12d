"""How long a summary may be."""

from __future__ import annotations

from dataclasses import dataclass

from langchain_xlm.errors import InputError
from langchain_xlm.text.words import count_words


@dataclass(frozen=True, slots=True)
class SummaryLength:
    """The limits of a summary; where both are given, both hold.

    Attributes:
        max_sentences: How many sentences at the most; None for no limit.
        max_words: How many words at the most, counted as in `count_words`; None for no limit.
    """

    max_sentences: int | None = None
    max_words: int | None = None

    def __post_init__(self) -> None:
        """Refuse limits that leave nothing."""
        for name in ("max_sentences", "max_words"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"{name}={value} leaves no summary: give 1 or more.")
        if self.max_sentences is None and self.max_words is None:
            raise InputError("A summary needs max_sentences or max_words.")

    def allows(self, sentences: list[str]) -> bool:
        """Tell whether a text of these sentences is short enough."""
        if self.max_sentences is not None and len(sentences) > self.max_sentences:
            return False
        return self.max_words is None or sum(map(count_words, sentences)) <= self.max_words
