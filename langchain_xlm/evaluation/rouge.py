"""ROUGE as rouge-score computes it, with words that every script has."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

import numpy as np

from langchain_xlm.evaluation.tasks import need

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TYPES", "RougeScores", "UnicodeTokenizer", "rouge_scores"]

TYPES: Final = ("rouge1", "rouge2", "rougeL")
_UNSPACED: Final = r"\p{Han}\p{Hiragana}\p{Katakana}ー\p{Thai}\p{Lao}\p{Khmer}\p{Myanmar}"


@dataclass(frozen=True)
class RougeScores:
    """ROUGE of each summary.

    Attributes:
        f1: For each of `TYPES` the F1 of each summary, 0 to 100, `(summaries,)`.
        signature: How words were found.
    """

    f1: dict[str, NDArray[np.float64]]
    signature: str


class UnicodeTokenizer:
    """Finds words in every script, in the shape that rouge-score asks for.

    Letters, digits and marks between others make a word, in lower case. Scripts without spaces
    (Chinese, Japanese, Thai, Lao, Khmer, Burmese) give a word for each letter, as results in
    Chinese are usually computed. rouge-score's own tokenizer knows nothing but a to z.
    """

    def __init__(self) -> None:
        import regex

        self._words = regex.compile(
            rf"[{_UNSPACED}]|[[\p{{L}}\p{{M}}\p{{N}}]--[{_UNSPACED}]]+", regex.VERSION1
        )

    def tokenize(self, text: str) -> list[str]:
        """Find the words of a text, in lower case."""
        return self._words.findall(text.casefold())


def rouge_scores(
    outputs: Sequence[str], references: Sequence[Sequence[str]], *, language: str | None
) -> RougeScores:
    """Score summaries; of several references the best for each type counts.

    English is stemmed and cut into words by rouge-score itself, as in published results; other
    languages by `UnicodeTokenizer`.

    Args:
        outputs: Summaries.
        references: The reference summaries of each.
        language: BCP 47 tag of the summaries; None if unknown.

    Returns:
        ROUGE-1, ROUGE-2 and ROUGE-L.

    Source:
        Lin 2004, https://aclanthology.org/W04-1013/
    """
    need("rouge_score", needed_for="Evaluating summaries")
    from rouge_score import rouge_scorer

    english = language is not None and language.partition("-")[0] == "en"
    scorer = rouge_scorer.RougeScorer(
        list(TYPES), use_stemmer=english, tokenizer=None if english else UnicodeTokenizer()
    )
    rows = [
        scorer.score_multi(list(own), output)
        for output, own in zip(outputs, references, strict=True)
    ]
    return RougeScores(
        {kind: np.array([100 * row[kind].fmeasure for row in rows]) for kind in TYPES},
        "rouge-score|F1|best of references|"
        + ("default tokenizer with stemmer" if english else "Unicode words, unspaced by letter"),
    )
