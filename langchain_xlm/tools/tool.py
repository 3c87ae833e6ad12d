"""What every tool shares: loading fields, one path for sync and async, errors an agent can read."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable
from types import TracebackType
from typing import Annotated, Any, Literal, Self

from langchain_core.tools import BaseTool, ToolException
from langchain_core.tools.base import ToolExceptionHandlerOutput
from pydantic import BeforeValidator, ConfigDict, Field, ValidationError, model_validator
from pydantic.v1 import ValidationError as ValidationErrorV1

from langchain_xlm.errors import XLMError
from langchain_xlm.models.config import LoadingFields, LoadSpec
from langchain_xlm.runtime.flow import Flow, run_flow, run_flow_async
from langchain_xlm.runtime.pool import unload_models
from langchain_xlm.text.cleaning import check_text

CheckedText = Annotated[str, BeforeValidator(check_text)]
"""A text argument: a string that is not blank and that a tokenizer can read."""


def explain_invalid_arguments(error: ValidationError | ValidationErrorV1) -> str:
    """Say in one sentence for each argument what is wrong with it.

    Args:
        error: What pydantic raised for the arguments of a tool call.

    Returns:
        A message that a language model can act on.
    """
    sentences = []
    for fault in error.errors():
        name = ".".join(str(part) for part in fault["loc"]) or "arguments"
        sentences.append(f"{name}: {fault['msg'].removeprefix('Value error, ').rstrip('.')}.")
    return " ".join(sentences)


class XLMTool(LoadingFields, BaseTool):
    """A tool that answers with text for a language model and an artifact for a program.

    A subclass describes its answer once, in `flow`. What a call cannot do, because of its
    arguments or of the model, comes back as a tool message with `status="error"`, so that the
    agent can mend it; with `handle_tool_error=False` it is raised as a `ToolException` whose
    `__cause__` is the error of the package.

    Used in a `with` block, a tool unloads its models at the end.
    """

    # BaseTool lets misspelt fields pass; its setting would win over that of the loading fields.
    model_config = ConfigDict(extra="forbid")

    response_format: Literal["content", "content_and_artifact"] = "content_and_artifact"
    handle_tool_error: bool | str | Callable[[ToolException], ToolExceptionHandlerOutput] | None = (
        True
    )
    handle_validation_error: (
        bool | str | Callable[[ValidationError | ValidationErrorV1], str] | None
    ) = explain_invalid_arguments
    timeout_s: float | None = Field(default=None, gt=0)
    """Limit for one call in seconds, loading included; None waits without limit."""

    @abstractmethod
    def flow(self, *args: Any, **kwargs: Any) -> Flow[tuple[str, dict[str, Any]]]:
        """Describe one answer.

        Args:
            *args: The first argument, where the tool was called with a bare string.
            **kwargs: The arguments of the tool's `args_schema`, validated.

        Returns:
            A flow to the content of the tool message and its artifact.
        """

    @abstractmethod
    def specs(self) -> tuple[LoadSpec, ...]:
        """Return what the tool loads when it is used, as its fields stand now."""

    @model_validator(mode="after")
    def _check_specs(self) -> Self:
        # A combination of fields that cannot work is refused here, long before the first call.
        self.specs()
        return self

    def unload(self) -> None:
        """Free the memory of the tool's models; a later call loads them again."""
        if specs := self.specs():
            unload_models(*specs)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.unload()

    def _run(self, *args: Any, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        try:
            return run_flow(self.flow(*args, **kwargs), model=self.model, timeout_s=self.timeout_s)
        except XLMError as error:
            raise ToolException(str(error)) from error

    async def _arun(self, *args: Any, **kwargs: Any) -> tuple[str, dict[str, Any]]:
        flow = self.flow(*args, **kwargs)
        try:
            return await run_flow_async(flow, model=self.model, timeout_s=self.timeout_s)
        except XLMError as error:
            raise ToolException(str(error)) from error
