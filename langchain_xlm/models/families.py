"""The table of model families: all that is special about one is a row of data here."""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass
from typing import Literal

from langchain_xlm.errors import IncompatibleModelError
from langchain_xlm.models.config import Task
from langchain_xlm.text import languages
from langchain_xlm.text.languages import NamingScheme

__all__ = ["FAMILIES", "PRETRAINED_ONLY", "Family", "advice_for", "families_of", "find_family"]

SourceLanguage = Literal["tokenizer", "none"]
TargetLanguage = Literal["first-token", "source-prefix", "prompt", "none"]

_ENCODER_TASKS: tuple[Task, ...] = ("encoder", "classifier", "cross-encoder")


@dataclass(frozen=True, slots=True)
class Family:
    """What is special about one family of checkpoints.

    Attributes:
        name: The family's name in messages.
        model_type: `model_type` in the checkpoint's config.json.
        tasks: What its checkpoints can serve as.
        marks: Tokens of which one must be in the vocabulary, where the model type alone does not
            tell; empty means any vocabulary.
        naming: How its vocabulary spells languages; None where it names none.
        source: Where the source language goes: `"tokenizer"` means `tokenizer.src_lang`.
        target: Where the target language goes: the first generated token, a token in front of
            the source text, or words in the prompt.
        prompt: Text around the source with `{source}` and `{target}`, English names of languages,
            and `{text}`; for `target="prompt"`.
        parts: Model types that its encoder and decoder may have; empty for one model type alone.
        keep_whole: Whether the model must be on one device: transformers does not know where it
            may be cut.
        position_offset: Rows of the position table in front of the first token.
        default_window: Input tokens where neither config nor tokenizer sets a limit.
        has_pooler: Whether its encoder class adds a pooler, which nothing here uses.
        packs: Whether its attention goes through transformers' attention interface, so that
            texts can run one behind the other without padding.
        overflows_in_float16: Whether activations pass the largest float16.
        packages: What its tokenizer needs beside transformers.
    """

    name: str
    model_type: str
    tasks: tuple[Task, ...]
    marks: tuple[str, ...] = ()
    naming: NamingScheme | None = None
    source: SourceLanguage = "none"
    target: TargetLanguage = "none"
    prompt: str | None = None
    parts: tuple[str, ...] = ()
    keep_whole: bool = False
    position_offset: int = 0
    default_window: int = 512
    has_pooler: bool = False
    packs: bool = False
    overflows_in_float16: bool = False
    packages: tuple[str, ...] = ()


FAMILIES: tuple[Family, ...] = (
    Family("XLM", "xlm", _ENCODER_TASKS, keep_whole=True, packages=("sacremoses",)),
    Family(
        "XLM-RoBERTa",
        "xlm-roberta",
        _ENCODER_TASKS,
        position_offset=2,
        has_pooler=True,
        packs=True,
    ),
    Family(
        "XLM-RoBERTa-XL",
        "xlm-roberta-xl",
        _ENCODER_TASKS,
        position_offset=2,
        has_pooler=True,
        packs=True,
    ),
    Family(
        "X-MOD",
        "xmod",
        _ENCODER_TASKS,
        keep_whole=True,
        position_offset=2,
        has_pooler=True,
        packs=True,
    ),
    # Multilingual MiniLM and small E5 were distilled from XLM-R and keep its vocabulary, but
    # their layers are BERT's. BERT's own vocabulary has no such mark and is refused.
    Family(
        "multilingual MiniLM", "bert", _ENCODER_TASKS, marks=("▁",), has_pooler=True, packs=True
    ),
    Family(
        "encoder-decoder",
        "encoder-decoder",
        ("seq2seq",),
        naming=languages.M2M100,
        target="first-token",
        parts=("xlm-roberta", "xlm-roberta-xl"),
        keep_whole=True,
        position_offset=2,
    ),
    Family(
        "NLLB",
        "m2m_100",
        ("seq2seq",),
        marks=("eng_Latn", "fra_Latn", "zho_Hans", "arb_Arab"),
        naming=languages.FLORES,
        source="tokenizer",
        target="first-token",
        default_window=1024,
    ),
    Family(
        "M2M100",
        "m2m_100",
        ("seq2seq",),
        marks=("__en__", "__fr__", "__zh__"),
        naming=languages.M2M100,
        source="tokenizer",
        target="first-token",
        default_window=1024,
        packages=("sentencepiece",),
    ),
    Family(
        "mBART-50",
        "mbart",
        ("seq2seq",),
        # Of the codes of mBART-50 these are not in mBART-25, which places them otherwise.
        marks=("pt_XX", "pl_PL", "uk_UA", "sv_SE", "he_IL"),
        naming=languages.MBART,
        source="tokenizer",
        target="first-token",
        default_window=1024,
    ),
    Family(
        "mT5",
        "mt5",
        ("seq2seq",),
        target="prompt",
        prompt="translate {source} to {target}: {text}",
        overflows_in_float16=True,
    ),
    Family(
        "Marian",
        "marian",
        ("seq2seq",),
        naming=languages.MARIAN,
        target="source-prefix",
        keep_whole=True,
        packages=("sentencepiece", "sacremoses"),
    ),
)

# Published checkpoints that have only been pretrained to fill gaps: as they are, they write
# noise. A fine-tuned copy has another name.
PRETRAINED_ONLY = frozenset({
    *(f"google/mt5-{size}" for size in ("small", "base", "large", "xl", "xxl")),
    "facebook/mbart-large-50",
})  # fmt: skip

_ADVICE: dict[Task, str] = {
    "encoder": (
        "Give an encoder such as 'intfloat/multilingual-e5-base' or"
        " 'sentence-transformers/paraphrase-multilingual-MiniLM-L12-v2'."
    ),
    "classifier": ("Give a classifier such as 'cardiffnlp/twitter-xlm-roberta-base-sentiment'."),
    "cross-encoder": "Give a cross-encoder such as 'BAAI/bge-reranker-v2-m3'.",
    "seq2seq": (
        "Give a sequence-to-sequence checkpoint such as 'facebook/nllb-200-distilled-600M' or"
        " 'facebook/m2m100_418M'."
    ),
}


def families_of(model_type: object, *, task: Task, model: str) -> tuple[Family, ...]:
    """Find the rows of a model type that serve a task.

    Args:
        model_type: What config.json says, whatever that is.
        task: What the model is for.
        model: Its name, for the message.

    Returns:
        One row, or several that only the vocabulary tells apart.

    Raises:
        IncompatibleModelError: The model type is outside the family or serves other tasks.
    """
    rows = [family for family in FAMILIES if family.model_type == model_type]
    if not rows:
        raise IncompatibleModelError(
            model,
            task=task,
            found=f"its model_type is {model_type!r}, which is outside the XLM family",
            advice=_ADVICE[task],
        )
    serving = tuple(family for family in rows if task in family.tasks)
    if not serving:
        raise IncompatibleModelError(
            model,
            task=task,
            found=f"it is a model of {_names(rows)}, which serve as {', '.join(rows[0].tasks)}",
            advice=_ADVICE[task],
        )
    return serving


def find_family(
    model_type: object, vocabulary: Collection[str], *, task: Task, model: str
) -> Family:
    """Find the one row of a checkpoint.

    Args:
        model_type: What config.json says.
        vocabulary: Every token of its tokenizer, language tokens included.
        task: What the model is for.
        model: Its name, for the message.

    Returns:
        The row.

    Raises:
        IncompatibleModelError: No row fits.
    """
    rows = families_of(model_type, task=task, model=model)
    for family in rows:
        if not family.marks or any(mark in vocabulary for mark in family.marks):
            return family
    raise IncompatibleModelError(
        model,
        task=task,
        found=f"its model_type is {model_type!r} but its vocabulary is not that of {_names(rows)}",
        advice=advice_for(task),
    )


def _names(rows: Iterable[Family]) -> str:
    return " or ".join(family.name for family in rows)


def advice_for(task: Task) -> str:
    """Name checkpoints that serve a task, as the end of a message."""
    return _ADVICE[task]
