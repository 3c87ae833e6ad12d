"""LangChain's own test suites for tools, unskipped, on tiny checkpoints and on the starter."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from langchain_tests.integration_tests import ToolsIntegrationTests
from langchain_tests.unit_tests import ToolsUnitTests

from langchain_xlm.runtime.pool import unload_models
from langchain_xlm.tools.sentiment import XLMSentimentTool
from langchain_xlm.tools.summarization import XLMSummarizationTool
from langchain_xlm.tools.translation import XLMTranslationTool

if TYPE_CHECKING:
    from langchain_core.tools import BaseTool

ARTICLE = (
    "The city council met on Monday. It decided to build a new bridge over the river. The old"
    " bridge is a hundred years old. Experts had warned of its condition for years."
)


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    unload_models()


class _Translation:
    kind = "m2m100"
    tool_constructor = XLMTranslationTool
    tool_invoke_params_example = {"text": "Good morning!", "target_language": "German"}  # noqa: RUF012


class _Summarization:
    kind = "sentence-encoder"
    tool_constructor = XLMSummarizationTool
    tool_invoke_params_example = {"text": ARTICLE, "max_sentences": 2}  # noqa: RUF012


class _Sentiment:
    kind = "xlm-roberta-classifier"
    tool_constructor = XLMSentimentTool
    tool_invoke_params_example = {"text": "Ich liebe dieses Restaurant."}  # noqa: RUF012


class _OnTinyCheckpoints:
    """The tool of a suite with a tiny checkpoint of its kind."""

    kind: str
    tool_constructor: type[BaseTool]

    @pytest.fixture
    def tool(self, checkpoints: Callable[..., Path]) -> BaseTool:
        arguments: dict[str, Any] = {"model": str(checkpoints(self.kind)), "device": "cpu"}
        return self.tool_constructor(**arguments)


class TestTranslationUnit(_Translation, ToolsUnitTests):
    pass


class TestSummarizationUnit(_Summarization, ToolsUnitTests):
    pass


class TestSentimentUnit(_Sentiment, ToolsUnitTests):
    pass


class TestTranslationIntegration(_OnTinyCheckpoints, _Translation, ToolsIntegrationTests):
    pass


class TestSummarizationIntegration(_OnTinyCheckpoints, _Summarization, ToolsIntegrationTests):
    pass


class TestSentimentIntegration(_OnTinyCheckpoints, _Sentiment, ToolsIntegrationTests):
    pass
