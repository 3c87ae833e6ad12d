"""BLEU, chrF++ and TER as sacrebleu computes them, with what a bootstrap needs of each sentence."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, cast

import numpy as np

from langchain_xlm.evaluation.intervals import Indices, Statistic
from langchain_xlm.evaluation.tasks import need

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from sacrebleu.metrics.base import Metric

__all__ = ["CorpusFigure", "bleu_tokenizer", "corpus_figures", "sentence_chrf"]

# Languages that write no spaces between words, beside those with a tokenizer of their own.
_BY_CHARACTER = {"th", "lo", "km", "my", "bo", "dz"}


@dataclass(frozen=True)
class CorpusFigure:
    """A figure of sacrebleu over a corpus.

    Attributes:
        key: "bleu", "chrf++" or "ter".
        statistic: The figure over some of the sentences.
        signature: What sacrebleu calls this way of computing it.
    """

    key: str
    statistic: Statistic
    signature: str


def bleu_tokenizer(language: str) -> str:
    """Choose the tokenizer that results in a language are usually given with.

    Args:
        language: BCP 47 tag of the target language.

    Returns:
        sacrebleu's name of it: "zh" for Chinese, MeCab's for Japanese and Korean where it is
        installed, "char" for other languages without spaces, else "13a".
    """
    code = language.partition("-")[0]
    if code in {"zh", "yue", "wuu"}:
        return "zh"
    for own, package in (("ja", "MeCab"), ("ko", "mecab_ko")):
        if code == own:
            return f"{own}-mecab" if find_spec(package) else "char"
    return "char" if code in _BY_CHARACTER else "13a"


def corpus_figures(
    outputs: Sequence[str], references: Sequence[Sequence[str]], *, language: str
) -> list[CorpusFigure]:
    """Prepare the three figures.

    Args:
        outputs: Translations.
        references: The reference translations of each; their number may differ.
        language: BCP 47 tag of the target language.

    Returns:
        chrF++, BLEU and TER.
    """
    need("sacrebleu", needed_for="Evaluating translations")
    from sacrebleu.metrics.bleu import BLEU
    from sacrebleu.metrics.chrf import CHRF
    from sacrebleu.metrics.ter import TER

    # Scripts without spaces are cut into characters for TER, which the normalization does.
    unspaced = bleu_tokenizer(language) != "13a"
    metrics: dict[str, Metric] = {
        "chrf++": CHRF(word_order=2),
        "bleu": BLEU(tokenize=bleu_tokenizer(language)),
        "ter": TER(normalized=unspaced, asian_support=unspaced),
    }
    streams = _streams(references)
    figures = []
    for key, metric in metrics.items():
        counts = _counts(metric, outputs, streams)
        figures.append(CorpusFigure(key, _statistic(metric, counts), str(metric.get_signature())))
    return figures


def sentence_chrf(
    outputs: Sequence[str], references: Sequence[Sequence[str]]
) -> NDArray[np.float64]:
    """Score each translation by itself, to tell the best from the worst.

    Args:
        outputs: Translations.
        references: The reference translations of each.

    Returns:
        chrF++ of each, 0 to 100, `(sentences,)`.
    """
    from sacrebleu.metrics.chrf import CHRF

    metric = CHRF(word_order=2)
    pairs = zip(outputs, references, strict=True)
    return np.array([metric.sentence_score(output, list(own)).score for output, own in pairs])


def _streams(references: Sequence[Sequence[str]]) -> list[list[str | None]]:
    """Turn the references of each sentence into sacrebleu's streams; None where one has fewer."""
    most = max(map(len, references))
    return [
        [own[number] if number < len(own) else None for own in references] for number in range(most)
    ]


def _counts(
    metric: Metric, outputs: Sequence[str], streams: Sequence[Sequence[str | None]]
) -> NDArray[np.float64]:
    """Count what each sentence adds to the corpus, once, so that draws only have to add up.

    sacrebleu has no public name for these counts, which its own bootstrap takes in this way.

    Returns:
        `(sentences, counts)`.
    """
    # It takes None for a missing reference, though its annotation does not say so.
    known = cast("Sequence[Sequence[str]]", streams)
    return np.array(metric._extract_corpus_statistics(list(outputs), known), dtype=np.float64)


def _statistic(metric: Metric, counts: NDArray[np.float64]) -> Statistic:
    def statistic(indices: Indices) -> float:
        total: list[Any] = counts[indices].sum(axis=0).tolist()
        return float(metric._compute_score_from_stats(total).score)

    return statistic
