"""The tools together, over shared models."""

from __future__ import annotations

from types import TracebackType
from typing import Any, Literal, Self

from langchain_core.tools import BaseTool, BaseToolkit
from pydantic import ConfigDict, Field, field_validator, model_validator

from langchain_xlm.models.config import LoadingFields
from langchain_xlm.tools.sentiment import XLMSentimentTool
from langchain_xlm.tools.sharing import loading_arguments
from langchain_xlm.tools.summarization import XLMSummarizationTool
from langchain_xlm.tools.tool import XLMTool
from langchain_xlm.tools.translation import XLMTranslationTool

ToolName = Literal["translate", "summarize", "sentiment"]


class XLMToolkit(LoadingFields, BaseToolkit):
    """Translation, summarization and sentiment for an agent, loaded in one way.

    Nothing is loaded until a tool is first called, and tools that need the same checkpoint in
    the same way share one copy of it: with each other, and with any `XLMEmbeddings` of the same
    fields. Used in a `with` block, the toolkit unloads its models at the end.

    Example:
        ```python
        toolkit = XLMToolkit(quantization="4bit", device_map="auto")
        agent = create_agent(model, tools=toolkit.get_tools())
        ```
    """

    # BaseToolkit says nothing of misspelt fields; they are refused here as in every other class.
    model_config = ConfigDict(extra="forbid", use_attribute_docstrings=True)

    tools: tuple[ToolName, ...] = ("translate", "summarize", "sentiment")
    """Which tools to build, in this order."""
    translation_model: str | None = None
    """Sequence-to-sequence checkpoint of the translation tool, and of summaries in another
    language; None takes `model`."""
    sentiment_model: str | None = None
    """Classifier of the sentiment tool; None takes `model`."""
    summarization_model: str | None = None
    """Sequence-to-sequence checkpoint that writes summaries; None makes them of the document's
    own sentences."""
    summarization_prompt: str = ""
    """What that checkpoint wants in front of a text, such as "summarize: "."""
    encoder_model: str | None = None
    """Encoder of extractive summaries; None takes `model`."""
    check_similarity: bool = False
    """Whether translations are compared with their source by the encoder; it is the one of the
    summaries, so nothing more is loaded."""
    label_meanings: dict[str, str] | None = None
    """What the labels of the classifier mean, where their names do not say it; see
    `XLMSentimentTool`."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Limit for one call of a tool in seconds, loading included; None waits without limit."""

    @field_validator("tools")
    @classmethod
    def _check_tools(cls, tools: tuple[ToolName, ...]) -> tuple[ToolName, ...]:
        if not tools:
            raise ValueError("an empty toolkit is of no use: name at least one tool")
        if len(set(tools)) < len(tools):
            raise ValueError("each tool can be named once")
        return tools

    @model_validator(mode="after")
    def _check_fields(self) -> Self:
        # Building the tools loads nothing, and refuses what cannot work.
        self._build()
        return self

    def get_tools(self) -> list[BaseTool]:
        """Build the tools.

        Returns:
            The chosen tools, in the order of `tools`.
        """
        return list(self._build())

    def unload(self) -> None:
        """Free the memory of all models of the toolkit; a later call loads them again."""
        for tool in self._build():
            tool.unload()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unload()

    def _build(self) -> list[XLMTool]:
        builders = {
            "translate": self._translation,
            "summarize": self._summarization,
            "sentiment": self._sentiment,
        }
        return [builders[name]() for name in self.tools]

    @property
    def _pinned_model(self) -> str:
        """The toolkit's own model, for a tool whose main model is another."""
        return self.model if self.revision is None else f"{self.model}@{self.revision}"

    def _arguments(self, model: str | None) -> dict[str, Any]:
        return loading_arguments(self, model=model) | {"timeout_s": self.timeout_s}

    def _translation(self) -> XLMTool:
        encoder = self.encoder_model or self._pinned_model
        return XLMTranslationTool(
            **self._arguments(self.translation_model),
            similarity_model=encoder if self.check_similarity else None,
        )

    def _summarization(self) -> XLMTool:
        return XLMSummarizationTool(
            **self._arguments(self.encoder_model),
            summarization_model=self.summarization_model,
            prompt=self.summarization_prompt,
            translation_model=self.translation_model or self._pinned_model,
        )

    def _sentiment(self) -> XLMTool:
        return XLMSentimentTool(
            **self._arguments(self.sentiment_model), label_meanings=self.label_meanings
        )
