"""The summarization tool on tiny real checkpoints: strategies, languages, artifact, bad input."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from pydantic import ValidationError

from langchain_xlm.runtime.pool import loaded_models, unload_models
from langchain_xlm.text.words import count_words
from langchain_xlm.tools.results import SummaryResult
from langchain_xlm.tools.summarization import NOTES, XLMSummarizationTool

Checkpoints = Callable[..., Path]

ARTICLE = (
    "The city council met on Monday. It decided to build a new bridge over the river.\n\n"
    "The old bridge is a hundred years old and has cracks in three pillars. Experts had warned"
    " of its condition for years. The new bridge will cost twelve million and open in two years."
    " Until then lorries must take another road."
)
SENTENCES = 6


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    unload_models()


@pytest.fixture
def tool(checkpoints: Checkpoints) -> XLMSummarizationTool:
    return XLMSummarizationTool(
        model=str(checkpoints("sentence-encoder")),
        translation_model=str(checkpoints("m2m100")),
        device="cpu",
        max_new_tokens=12,
    )


def call(tool: XLMSummarizationTool, **arguments: object) -> ToolMessage:
    asked = {"type": "tool_call", "id": "1", "name": tool.name, "args": arguments}
    message = tool.invoke(asked)
    assert isinstance(message, ToolMessage)
    return message


def test_extractive_artifact(tool: XLMSummarizationTool) -> None:
    message = call(tool, text=ARTICLE, max_sentences=2)
    assert message.status == "success"
    assert json.loads(json.dumps(message.artifact)) == message.artifact
    result = SummaryResult.model_validate(message.artifact)
    assert result.strategy == "extractive"
    assert result.sentences is not None
    assert len(result.sentences) == 2
    assert [s.index for s in result.sentences] == sorted(s.index for s in result.sentences)
    assert all(s.text in ARTICLE and s.text in result.text for s in result.sentences)
    assert result.pieces is None
    assert result.compression == pytest.approx(len(result.text) / len(ARTICLE))
    assert result.source_language == "en"
    assert result.detected is not None
    assert result.detected.confidence > 0.5
    assert result.target_language is None
    assert result.translation is None
    assert result.flags == ()
    assert result.model == tool.model
    assert message.text == result.text


def test_the_default_is_three_sentences(tool: XLMSummarizationTool) -> None:
    assert len(call(tool, text=ARTICLE).artifact["sentences"]) == 3


def test_fields_set_the_length_of_calls_that_name_none(checkpoints: Checkpoints) -> None:
    folder = str(checkpoints("sentence-encoder"))
    tool = XLMSummarizationTool(model=folder, max_words=20)
    assert count_words(call(tool, text=ARTICLE).artifact["text"]) <= 20
    assert len(call(tool, text=ARTICLE, max_sentences=4).artifact["sentences"]) == 4


def test_sync_equals_async(tool: XLMSummarizationTool) -> None:
    arguments = {"text": ARTICLE, "max_sentences": 2}
    sync = call(tool, **arguments)
    asked = {"type": "tool_call", "id": "1", "name": tool.name, "args": arguments}
    assert asyncio.run(tool.ainvoke(asked)).artifact == sync.artifact
    assert tool.invoke(arguments) == sync.text


def test_a_short_text_is_returned_whole_with_a_note(tool: XLMSummarizationTool) -> None:
    message = call(tool, text="One sentence. And two.", max_sentences=2)
    assert message.artifact["text"] == "One sentence. And two."
    assert message.artifact["flags"] == ["already_short"]
    assert message.artifact["compression"] == 1
    assert message.artifact["revision"] is None
    assert NOTES["already_short"] in message.text
    assert loaded_models() == []


def test_in_another_language(tool: XLMSummarizationTool) -> None:
    message = call(tool, text=ARTICLE, max_sentences=2, target_language="French")
    artifact = message.artifact
    assert artifact["source_language"] == "en"
    assert artifact["target_language"] == "fr"
    translation = artifact["translation"]
    assert translation["target_language"] == "fr"
    assert translation["source_language"] == "en"
    # The chosen sentences stay as they stand in the document; each was translated.
    assert [p["source"] for p in translation["pieces"]] == [
        s["text"] for s in artifact["sentences"]
    ]
    assert artifact["text"] == translation["text"]
    assert artifact["compression"] < 1
    assert {spec.task for spec in loaded_models()} == {"encoder", "seq2seq"}


def test_in_its_own_language_nothing_is_translated(tool: XLMSummarizationTool) -> None:
    artifact = call(tool, text=ARTICLE, max_sentences=2, target_language="en").artifact
    assert artifact["translation"] is None
    assert artifact["target_language"] == "en"
    assert all(s["text"] in ARTICLE for s in artifact["sentences"])


def test_a_misspelt_language_is_reported_before_any_work(tool: XLMSummarizationTool) -> None:
    message = call(tool, text=ARTICLE, target_language="Frnech")
    assert message.status == "error"
    assert "Frnech" in message.text
    assert "French" in message.text
    assert all(spec.task != "encoder" for spec in loaded_models())


def test_the_language_of_the_document_can_be_named(tool: XLMSummarizationTool) -> None:
    artifact = call(tool, text=ARTICLE, max_sentences=1, source_language="German").artifact
    assert (artifact["source_language"], artifact["detected"]) == ("de", None)
    text = "Ok. Ok ok! Hm hm hm."  # too little to tell a language by
    asked = {"text": text, "max_sentences": 1, "target_language": "fr", "source_language": "en"}
    artifact = call(tool, **asked).artifact
    assert artifact["translation"]["source_language"] == "en"
    assert call(tool, text=ARTICLE, source_language="auto").artifact["source_language"] == "en"
    wrong = call(tool, text=ARTICLE, source_language="Germna")
    assert wrong.status == "error"
    assert "German" in wrong.text


def test_abstractive(checkpoints: Checkpoints) -> None:
    folder = str(checkpoints("mbart50", window=64))
    tool = XLMSummarizationTool(summarization_model=folder, device="cpu", max_new_tokens=8)
    text = " ".join(f"Number {n} of the long report says so." for n in range(40))
    message = call(tool, text=text, max_sentences=1)
    result = SummaryResult.model_validate(message.artifact)
    assert result.strategy == "abstractive"
    assert result.model == folder
    assert result.sentences is None
    assert result.pieces is not None
    parts = [piece for piece in result.pieces if piece.round == 0]
    assert len(parts) > 1
    assert all(text[part.start : part.end] == part.source for part in parts)
    numbers = [w for part in parts for w in part.source.split() if w.isdecimal()]
    assert numbers == [str(n) for n in range(40)]
    assert [spec.task for spec in loaded_models()] == ["seq2seq"]


def test_which_model_a_strategy_takes(checkpoints: Checkpoints) -> None:
    writer = str(checkpoints("mt5"))
    assert XLMSummarizationTool().specs()[0].task == "encoder"
    assert XLMSummarizationTool(summarization_model=writer).specs()[0].model == writer
    forced = XLMSummarizationTool(summarization_model=writer, strategy="extractive").specs()[0]
    assert (forced.task, forced.model) == ("encoder", "starter")
    own = XLMSummarizationTool(model=writer, strategy="abstractive").specs()[0]
    assert (own.task, own.model) == ("seq2seq", writer)


def test_the_starter_writes_no_summaries() -> None:
    with pytest.raises(ValidationError, match="summarization_model="):
        XLMSummarizationTool(strategy="abstractive")


def test_loading_fields_reach_every_model(checkpoints: Checkpoints) -> None:
    tool = XLMSummarizationTool(
        model=str(checkpoints("sentence-encoder")),
        translation_model=str(checkpoints("m2m100")),
        dtype="bfloat16",
        device="cpu",
        local_files_only=True,
    )
    for spec in tool.specs():
        assert (spec.dtype, spec.device, spec.local_files_only) == ("bfloat16", "cpu", True)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ({"text": None}, "None"),
        ({"text": 5}, "int"),
        ({"text": " \n "}, "blank"),
        ({"text": "half \ud83d of"}, "surrogate"),
        ({"text": "Good.", "max_sentences": 0}, "max_sentences"),
        ({"text": "Good.", "max_words": -3}, "max_words"),
        ({"text": "Good.", "max_words": "many"}, "max_words"),
        ({"max_words": 3}, "text"),
    ],
)
def test_bad_arguments_are_answered(
    tool: XLMSummarizationTool, arguments: dict[str, Any], said: str
) -> None:
    message = call(tool, **arguments)
    assert message.status == "error"
    assert said in message.text


@pytest.mark.parametrize(
    "text",
    [
        "😀",
        "😀 " * 50,
        "12345\n" * 20,
        "Same sentence. " * 1000,
        "\u200fזו דוגמה. " * 3 + "עוד משפט כאן עכשיו. ועוד אחד אחרון כאן.",
        "今天的天气非常好。我们全家去公园散步。孩子们在草地上玩球。妈妈准备了很多好吃的东西。",
        "สวัสดีครับ วันนี้อากาศดีมาก เราไปเที่ยวกัน",
        "x" * 20_000,
        "nul\x00 here. " * 30,
    ],
)
def test_odd_texts_are_summarized(tool: XLMSummarizationTool, text: str) -> None:
    message = call(tool, text=text, max_sentences=2)
    assert message.status == "success", message.text
    assert message.artifact["text"].strip()
    assert len(message.artifact["text"]) <= len(text)


def test_a_model_for_another_task(checkpoints: Checkpoints) -> None:
    tool = XLMSummarizationTool(model=str(checkpoints("nllb")), device="cpu")
    message = call(tool, text=ARTICLE)
    assert message.status == "error"
    assert "encoder" in message.text


def test_schema_is_written_for_a_language_model(tool: XLMSummarizationTool) -> None:
    schema = tool.get_input_schema().model_json_schema()
    assert schema["required"] == ["text"]
    languages = {"target_language", "source_language"}
    assert set(schema["properties"]) == {"text", "max_sentences", "max_words", *languages}
    assert all(field["description"] for field in schema["properties"].values())
