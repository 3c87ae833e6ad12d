"""The sentiment tool on tiny real checkpoints: labels, artifact, content and bad input."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain_core.messages import ToolMessage
from langchain_core.tools import ToolException

from langchain_xlm.errors import ConfigurationError, IncompatibleModelError
from langchain_xlm.runtime.pool import loaded_models, unload_models
from langchain_xlm.tools.results import SentimentResult
from langchain_xlm.tools.sentiment import NOTES, XLMSentimentTool

Checkpoints = Callable[..., Path]


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    unload_models()


@pytest.fixture
def tool(checkpoints: Checkpoints) -> XLMSentimentTool:
    return XLMSentimentTool(model=str(checkpoints("xlm-roberta-classifier")), device="cpu")


def call(text: object) -> dict[str, Any]:
    return {"type": "tool_call", "id": "1", "name": "xlm_sentiment", "args": {"text": text}}


def with_labels(
    checkpoints: Checkpoints, copy: Path, *labels: str, **fields: Any
) -> XLMSentimentTool:
    """A tool whose checkpoint has three, or five, labels of these names."""
    folder = checkpoints(
        "xlm-roberta-classifier", labels=tuple(f"L{n}" for n in range(len(labels)))
    )
    shutil.copytree(folder, copy)
    config = json.loads((copy / "config.json").read_text("utf-8"))
    config["id2label"] = {str(place): label for place, label in enumerate(labels)}
    config["label2id"] = {label: place for place, label in enumerate(labels)}
    (copy / "config.json").write_text(json.dumps(config), "utf-8")
    return XLMSentimentTool(model=str(copy), device="cpu", **fields)


def test_artifact_and_content(tool: XLMSentimentTool) -> None:
    message = tool.invoke(call("Ich liebe dieses Restaurant."))
    assert isinstance(message, ToolMessage)
    assert message.status == "success"
    result = SentimentResult.model_validate(message.artifact)
    assert json.loads(json.dumps(message.artifact)) == message.artifact
    assert result.label in {"negative", "neutral", "positive"}
    assert list(result.scores) == ["negative", "neutral", "positive"]
    assert result.scores[result.label] == max(result.scores.values())
    assert result.checkpoint_scores == result.scores
    assert [piece.text for piece in result.pieces] == ["Ich liebe dieses Restaurant."]
    assert result.model == tool.model
    assert result.revision is None
    assert result.flags == ()
    for label, score in result.scores.items():
        assert f"{label} {score:.2f}" in message.text
    assert message.text.startswith(result.label)


def test_sync_and_async_and_bare_string_agree(tool: XLMSentimentTool) -> None:
    import asyncio

    text = "The waiter was rude."
    sync = tool.invoke(call(text))
    other = asyncio.run(tool.ainvoke(call(text)))
    assert sync.artifact == other.artifact
    assert sync.text == other.text == tool.invoke(text) == tool.invoke({"text": text})


def test_pieces_of_a_long_text(tool: XLMSentimentTool) -> None:
    text = " ".join(f"Number {n} is good." for n in range(200))
    message = tool.invoke(call(text))
    pieces = message.artifact["pieces"]
    assert len(pieces) > 1
    assert f"{len(pieces)} pieces" in message.text
    assert all(text[piece["start"] : piece["end"]] == piece["text"] for piece in pieces)
    numbers = [word for piece in pieces for word in piece["text"].split() if word.isdecimal()]
    assert numbers == [str(n) for n in range(200)]


def test_stars_are_gathered_and_kept(checkpoints: Checkpoints, tmp_path: Path) -> None:
    stars = ("1 star", "2 stars", "3 stars", "4 stars", "5 stars")
    artifact = with_labels(checkpoints, tmp_path / "c", *stars).invoke(call("Good.")).artifact
    own = artifact["checkpoint_scores"]
    assert list(own) == list(stars)
    assert artifact["scores"] == pytest.approx(
        {
            "negative": own["1 star"] + own["2 stars"],
            "neutral": own["3 stars"],
            "positive": own["4 stars"] + own["5 stars"],
        }
    )
    assert artifact["label"] == max(artifact["scores"], key=artifact["scores"].__getitem__)


@pytest.mark.parametrize(
    ("labels", "flag"),
    [
        (("LABEL_0", "LABEL_1", "LABEL_2"), "unknown_label_meaning"),
        (("toxic", "severe_toxic", "clean"), "not_sentiment_labels"),
    ],
)
def test_meaning_is_not_guessed(
    checkpoints: Checkpoints, tmp_path: Path, labels: tuple[str, ...], flag: str
) -> None:
    message = with_labels(checkpoints, tmp_path / "c", *labels).invoke(call("Good."))
    assert message.artifact["label"] in labels
    assert set(message.artifact["scores"]) == set(labels)
    assert message.artifact["flags"] == [flag]
    assert NOTES[flag] in message.text


def test_the_caller_says_what_labels_mean(checkpoints: Checkpoints, tmp_path: Path) -> None:
    meanings = {"LABEL_0": "positive", "LABEL_1": "neutral", "LABEL_2": "negative"}
    tool = with_labels(checkpoints, tmp_path / "c", *meanings, label_meanings=meanings)
    artifact = tool.invoke(call("Good.")).artifact
    assert artifact["scores"]["positive"] == artifact["checkpoint_scores"]["LABEL_0"]
    assert artifact["flags"] == []


def test_wrong_meanings(checkpoints: Checkpoints, tmp_path: Path) -> None:
    tool = with_labels(
        checkpoints, tmp_path / "c", "LABEL_0", "LABEL_1", label_meanings={"LABEL_5": "negative"}
    )
    message = tool.invoke(call("Good."))
    assert message.status == "error"
    assert "LABEL_5" in message.text
    assert "LABEL_0, LABEL_1" in message.text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (None, "None"),
        (7, "int"),
        (b"bytes", "bytes"),
        (["list"], "list"),
        ("", "blank"),
        (" \n\t", "blank"),
        ("half \ud83d", "surrogate"),
    ],
)
def test_bad_texts_are_answered(tool: XLMSentimentTool, text: object, said: str) -> None:
    message = tool.invoke(call(text))
    assert message.status == "error"
    assert "text" in message.text
    assert said in message.text
    assert loaded_models() == []  # nothing was loaded for it


@pytest.mark.parametrize(
    "text",
    [
        "😀",
        "👍🏽👍🏽",
        "12345",
        "nul\x00here",
        "e\u0301e\u0301",
        "\u200fשלום\u200f עולם",
        "a</s>b<pad>c",
        "good " * 1000,
        "x" * 3000,
    ],
)
def test_odd_texts_are_judged(tool: XLMSentimentTool, text: str) -> None:
    message = tool.invoke(call(text))
    assert message.status == "success"
    assert sum(message.artifact["scores"].values()) == pytest.approx(1, abs=1e-4)


def test_a_model_without_the_head(checkpoints: Checkpoints) -> None:
    tool = XLMSentimentTool(model=str(checkpoints("xlm-roberta")), device="cpu")
    message = tool.invoke(call("Good."))
    assert message.status == "error"
    assert "cannot serve as" in message.text
    strict = XLMSentimentTool(model=tool.model, device="cpu", handle_tool_error=False)
    with pytest.raises(ToolException) as caught:
        strict.invoke(call("Good."))
    assert isinstance(caught.value.__cause__, IncompatibleModelError)


def test_a_missing_folder(tmp_path: Path) -> None:
    message = XLMSentimentTool(model=str(tmp_path / "nowhere")).invoke(call("Good."))
    assert message.status == "error"
    assert "nowhere" in message.text


def test_bad_fields_are_refused_at_construction() -> None:
    with pytest.raises(ValueError, match="dtype='flaot16'"):
        XLMSentimentTool(dtype="flaot16")
    with pytest.raises(ValueError, match="moodel"):
        XLMSentimentTool(moodel="starter")  # type: ignore[call-arg]
    assert issubclass(ConfigurationError, ValueError)


def test_with_unloads(checkpoints: Checkpoints) -> None:
    with XLMSentimentTool(model=str(checkpoints("xlm-roberta-classifier"))) as tool:
        tool.invoke(call("Good."))
        assert len(loaded_models()) == 1
    assert loaded_models() == []


def test_schema_is_written_for_a_language_model(tool: XLMSentimentTool) -> None:
    schema = tool.get_input_schema().model_json_schema()
    assert schema["required"] == ["text"]
    assert schema["properties"]["text"]["type"] == "string"
    assert schema["properties"]["text"]["description"]
    assert "negative" in tool.description
