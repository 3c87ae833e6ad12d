"""A chat model that follows a script, to drive a real agent without a network."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

from langchain_core.callbacks import CallbackManagerForLLMRun  # noqa: TC002
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolCall
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_core.tools import BaseTool
from pydantic import PrivateAttr

Turn = list[tuple[str, dict[str, Any]]] | str
"""The tool calls of a turn as (name, arguments), or the words of the last one."""


class ScriptedModel(BaseChatModel):
    """Says the turns of a script one after the other and keeps what it was shown."""

    turns: list[Turn]
    _bound: list[str] = PrivateAttr(default_factory=list)
    _seen: list[list[BaseMessage]] = PrivateAttr(default_factory=list)

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(
        self, tools: Sequence[dict[str, Any] | type | Callable[..., Any] | BaseTool], **_: Any
    ) -> ScriptedModel:  # type: ignore[override]
        self._bound = [tool.name for tool in tools if isinstance(tool, BaseTool)]
        return self

    def _generate(
        self,
        messages: list[BaseMessage],
        stop: list[str] | None = None,
        run_manager: CallbackManagerForLLMRun | None = None,
        **_: Any,
    ) -> ChatResult:
        place = len(self._seen)
        self._seen.append(list(messages))
        turn = self.turns[place]
        if isinstance(turn, str):
            message = AIMessage(turn)
        else:
            calls = [
                ToolCall(name=name, args=arguments, id=f"{place}-{number}")
                for number, (name, arguments) in enumerate(turn)
            ]
            message = AIMessage("", tool_calls=calls)
        return ChatResult(generations=[ChatGeneration(message=message)])

    @property
    def bound(self) -> list[str]:
        """Names of the tools that it was given."""
        return self._bound

    @property
    def seen(self) -> list[list[BaseMessage]]:
        """The messages that it was shown at each turn."""
        return self._seen
