"""The table of families: one row for each checkpoint, or a reason why there is none."""

from __future__ import annotations

from typing import Any

import pytest

from langchain_xlm.errors import IncompatibleModelError
from langchain_xlm.models.families import FAMILIES, find_family

CASES = [
    ("xlm", "encoder", {"<s>"}, "XLM"),
    ("xlm-roberta", "classifier", {"▁"}, "XLM-RoBERTa"),
    ("m2m_100", "seq2seq", {"eng_Latn", "▁"}, "NLLB"),
    ("m2m_100", "seq2seq", {"__en__", "▁"}, "M2M100"),
    ("mbart", "seq2seq", {"en_XX", "pt_XX"}, "mBART-50"),
    ("bert", "encoder", {"▁", "<s>"}, "multilingual MiniLM"),
    ("mt5", "seq2seq", {"▁"}, "mT5"),
    ("marian", "seq2seq", {">>fra<<"}, "Marian"),
    ("marian", "seq2seq", {"▁"}, "Marian"),
    ("encoder-decoder", "seq2seq", {"__fr__"}, "encoder-decoder"),
]


@pytest.mark.parametrize(("model_type", "task", "vocabulary", "name"), CASES)
def test_row_of_each_checkpoint(
    model_type: str, task: Any, vocabulary: set[str], name: str
) -> None:
    assert find_family(model_type, vocabulary, task=task, model="m").name == name


WRONG = [
    ("gpt2", "seq2seq", {"a"}, "'gpt2', which is outside"),
    (None, "encoder", {"a"}, "None, which is outside"),
    ("xlm-roberta", "seq2seq", {"▁"}, "model of XLM-RoBERTa, which serve as encoder"),
    ("mt5", "encoder", {"▁"}, "model of mT5, which serve as seq2seq"),
    ("m2m_100", "encoder", {"__en__"}, "model of NLLB or M2M100"),
    # BERT's own word pieces; mBART-25, which has the language elsewhere.
    ("bert", "encoder", {"[CLS]", "##ing"}, "not that of multilingual MiniLM"),
    ("mbart", "seq2seq", {"en_XX", "ro_RO"}, "not that of mBART-50"),
    ("m2m_100", "seq2seq", {"▁"}, "not that of NLLB or M2M100"),
]


@pytest.mark.parametrize(("model_type", "task", "vocabulary", "found"), WRONG)
def test_refusal_names_what_was_found(
    model_type: object, task: Any, vocabulary: set[str], found: str
) -> None:
    with pytest.raises(IncompatibleModelError) as caught:
        find_family(model_type, vocabulary, task=task, model="owner/name")
    assert found in str(caught.value)
    assert str(caught.value).startswith(f"'owner/name' cannot serve as {task}")
    assert "such as" in str(caught.value)
    assert (caught.value.model, caught.value.task) == ("owner/name", task)


def test_rows_are_whole() -> None:
    assert len({family.name for family in FAMILIES}) == len(FAMILIES)
    for family in FAMILIES:
        named_by_token = family.target in {"first-token", "source-prefix"}
        assert (family.naming is not None) == named_by_token
        assert (family.prompt is not None) == (family.target == "prompt")
        assert family.source == "none" or family.naming is not None
