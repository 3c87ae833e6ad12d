from __future__ import annotations

import io

import pytest
from rich.console import Console

from langchain_xlm import (
    XLMEmbeddings,
    XLMSentimentTool,
    XLMSummarizationTool,
    XLMTranslationTool,
)
from langchain_xlm.cli import demo_texts
from langchain_xlm.cli.demo import Parts, show


@pytest.fixture
def parts(checkpoints):
    encoder = str(checkpoints("sentence-encoder"))
    translator = str(
        checkpoints("encoder-decoder", languages=("en", "de", "fr", "es", "nl", "ja", "tr", "zh"))
    )
    return Parts(
        translation=XLMTranslationTool(model=translator, max_new_tokens=8, handle_tool_error=False),
        sentiment=XLMSentimentTool(
            model=str(checkpoints("xlm-roberta-classifier")), handle_tool_error=False
        ),
        summarization=XLMSummarizationTool(model=encoder, handle_tool_error=False),
        embeddings=XLMEmbeddings(model=encoder),
    )


def test_every_part_is_shown_with_its_time(parts):
    printed = io.StringIO()
    show(parts, Console(file=printed, width=200, soft_wrap=True))
    lines = printed.getvalue().splitlines()
    shown = [source for source, _ in demo_texts.TRANSLATIONS]
    shown += [*demo_texts.OPINIONS, *demo_texts.QUERIES]
    for text in shown:
        assert any(text in line for line in lines), text
    results = sum(len(targets) for _, targets in demo_texts.TRANSLATIONS)
    results += len(demo_texts.OPINIONS) + len(demo_texts.QUERIES)
    assert sum(line.endswith((" ms", " s")) for line in lines) >= results
    assert "No network was used." in lines[-1]


def test_what_the_demo_asks_of_the_models():
    """Three target languages at least, opinions and passages in several languages."""
    targets = {target for _, targets in demo_texts.TRANSLATIONS for target in targets}
    assert len(targets) >= 3
    assert len(demo_texts.PASSAGES) >= len(demo_texts.QUERIES)
    assert len(demo_texts.ARTICLE.split()) > 500
