from __future__ import annotations

import pytest

from integration_tests.conftest import converted
from langchain_xlm import XLMSentimentTool

MODEL = "cardiffnlp/twitter-xlm-roberta-base-sentiment"


@pytest.mark.parametrize(
    ("text", "label"),
    [
        ("I love this film, it is wonderful!", "positive"),
        ("C'est horrible, je suis très déçu.", "negative"),
        ("Der Laden öffnet um neun Uhr.", "neutral"),
    ],
)
def test_clear_cases(text, label):
    tool = XLMSentimentTool(model=MODEL, revision=converted(MODEL))
    call = {"type": "tool_call", "id": "1", "name": tool.name, "args": {"text": text}}
    assert tool.invoke(call).artifact["label"] == label
