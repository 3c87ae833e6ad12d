"""What every tool shares, on a tool that only repeats its text."""

from __future__ import annotations

import asyncio
from concurrent.futures import Future
from typing import Any

import pytest
from langchain_core.tools import ToolException
from pydantic import BaseModel, Field, ValidationError

from langchain_xlm.errors import ConfigurationError, InputError, RequestTimeoutError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.tools.tool import CheckedText, XLMTool


class EchoArguments(BaseModel):
    text: CheckedText = Field(description="Any text.")
    times: int = Field(default=1, ge=1)


class EchoTool(XLMTool):
    name: str = "echo"
    description: str = "Repeats a text."
    args_schema: type[BaseModel] = EchoArguments

    def specs(self) -> tuple[LoadSpec, ...]:
        return (self.load_spec("encoder"),)

    def flow(self, text: str, times: int = 1) -> Flow[tuple[str, dict[str, Any]]]:
        future: Future[str] = Future()
        if text == "wait for ever":
            yield future
        if text == "fail":
            future.set_exception(InputError("The text 'fail' fails. Give another."))
        else:
            future.set_result(text)
        answer: str = yield future
        return answer * times, {"text": answer, "times": times}


def call(**arguments: Any) -> dict[str, Any]:
    return {"name": "echo", "args": arguments, "id": "1", "type": "tool_call"}


def test_content_and_artifact_come_from_one_flow() -> None:
    message = EchoTool().invoke(call(text="ab", times=2))
    assert (message.content, message.artifact) == ("abab", {"text": "ab", "times": 2})
    assert message.status == "success"


async def test_async_equals_sync() -> None:
    tool = EchoTool()
    assert await tool.ainvoke(call(text="ab")) == tool.invoke(call(text="ab"))
    assert await tool.ainvoke(call(text="fail")) == tool.invoke(call(text="fail"))


def test_a_bare_string_is_the_first_argument() -> None:
    assert EchoTool().invoke("hello") == "hello"


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_error_of_the_package_becomes_a_message(asynchronous: bool) -> None:
    tool = EchoTool()
    given = call(text="fail")
    message = asyncio.run(tool.ainvoke(given)) if asynchronous else tool.invoke(given)
    assert message.status == "error"
    assert message.content == "The text 'fail' fails. Give another."
    assert message.artifact is None


@pytest.mark.parametrize("asynchronous", [False, True])
def test_unhandled_it_is_raised_with_its_cause(asynchronous: bool) -> None:
    tool = EchoTool(handle_tool_error=False)
    with pytest.raises(ToolException, match="The text 'fail' fails") as caught:
        asyncio.run(tool.ainvoke(call(text="fail"))) if asynchronous else tool.invoke("fail")
    assert isinstance(caught.value.__cause__, InputError)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({}, "text: Field required."),
        ({"text": None}, "text: The text must be a string, not None."),
        ({"text": b"abc"}, "text: The text must be a string, not bytes"),
        ({"text": 5}, "text: The text must be a string, not int."),
        ({"text": " \n"}, "text: The text is blank."),
        ({"text": "a\ud800b"}, "surrogate pair (U+D800) at position 1"),
        ({"text": "a", "times": 0}, "times: Input should be greater than or equal to 1."),
        ({"text": None, "times": "x"}, "times: Input should be a valid integer"),
    ],
)
def test_wrong_arguments_come_back_as_one_sentence_each(
    arguments: dict[str, Any], sentence: str
) -> None:
    message = EchoTool().invoke(call(**arguments))
    assert message.status == "error"
    assert sentence in message.content
    assert "Value error" not in message.content
    assert "pydantic" not in message.content


def test_time_runs_out_with_a_message() -> None:
    tool = EchoTool(timeout_s=0.05)
    message = tool.invoke(call(text="wait for ever"))
    assert message.status == "error"
    assert "within 0.05 s" in message.content
    with pytest.raises(ToolException) as caught:
        EchoTool(timeout_s=0.05, handle_tool_error=False).invoke("wait for ever")
    assert isinstance(caught.value.__cause__, RequestTimeoutError)


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"device": "cpu", "device_map": "auto"}, "contradict each other"),
        ({"timeout_s": 0}, "greater than 0"),
        ({"modell": "x"}, "Extra inputs are not permitted"),
        ({"quantization": "3bit"}, "3bit"),
    ],
)
def test_fields_that_cannot_work_are_refused_at_once(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(ValidationError, match=message):
        EchoTool(**fields)


def test_the_arguments_of_a_call_are_not_changed() -> None:
    arguments = {"text": "a\0b", "times": 2}
    given = call(**arguments)
    EchoTool().invoke(given)
    assert given == call(text="a\0b", times=2)


def test_the_schema_shows_a_model_the_arguments_alone() -> None:
    schema = EchoTool().tool_call_schema.model_json_schema()  # type: ignore[union-attr]
    assert list(schema["properties"]) == ["text", "times"]
    assert schema["properties"]["text"]["type"] == "string"
    assert schema["required"] == ["text"]


def test_leaving_the_block_unloads_the_models_of_the_tool(monkeypatch: pytest.MonkeyPatch) -> None:
    unloaded: list[LoadSpec] = []
    monkeypatch.setattr(
        "langchain_xlm.tools.tool.unload_models", lambda *specs: unloaded.extend(specs)
    )
    with EchoTool(device="cpu") as tool:
        assert not unloaded
    assert unloaded == [LoadSpec("encoder", device="cpu")]
    assert tool.specs() == tuple(unloaded)


def test_a_tool_without_models_unloads_nobody_elses(monkeypatch: pytest.MonkeyPatch) -> None:
    class BareTool(EchoTool):
        def specs(self) -> tuple[LoadSpec, ...]:
            return ()

    monkeypatch.setattr("langchain_xlm.tools.tool.unload_models", lambda *_: pytest.fail("all"))
    BareTool().unload()


def test_a_combination_is_an_error_of_the_package_inside() -> None:
    with pytest.raises(ValidationError) as caught:
        EchoTool(device="cpu", device_map="auto")
    assert any(
        isinstance(fault.get("ctx", {}).get("error"), ConfigurationError)
        for fault in caught.value.errors()
    )
