"""Real agents (`create_agent`) that call the tools as a language model would."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from langchain.agents import create_agent
from langchain_core.messages import ToolMessage

from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.pool import unload_models
from langchain_xlm.tools.toolkit import XLMToolkit
from tests.tools.scripted_model import ScriptedModel, Turn

Checkpoints = Callable[..., Path]

ARTICLE = (
    "The city council met on Monday. It decided to build a new bridge over the river. The old"
    " bridge is a hundred years old and has cracks in three pillars. Experts had warned of its"
    " condition for years. Until it is finished lorries must take another road."
)
THREE_CALLS: Turn = [
    ("xlm_translate", {"text": "Good morning!", "target_language": "German"}),
    ("xlm_summarize", {"text": ARTICLE, "max_sentences": 2}),
    ("xlm_sentiment", {"text": "Ich liebe dieses Restaurant."}),
]

Run = Callable[[Any, str], dict[str, Any]]


def run_sync(agent: Any, question: str) -> dict[str, Any]:
    answer: dict[str, Any] = agent.invoke({"messages": [("user", question)]})
    return answer


def run_async(agent: Any, question: str) -> dict[str, Any]:
    answer: dict[str, Any] = asyncio.run(agent.ainvoke({"messages": [("user", question)]}))
    return answer


both_ways = pytest.mark.parametrize("run", [run_sync, run_async], ids=["sync", "async"])


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    unload_models()


@pytest.fixture(
    params=["tiny", pytest.param("starter", marks=[pytest.mark.starter, pytest.mark.slow])]
)
def toolkit(request: pytest.FixtureRequest, checkpoints: Checkpoints) -> XLMToolkit:
    if request.param == "starter":
        for task in ("encoder", "classifier", "seq2seq"):
            folder = LoadSpec(task).folder
            if folder is None or not (folder / "model.safetensors").exists():
                pytest.skip(f"the bundled {task} checkpoint has no weights yet")
        return XLMToolkit(device="cpu")
    return XLMToolkit(
        translation_model=str(checkpoints("m2m100")),
        sentiment_model=str(checkpoints("xlm-roberta-classifier")),
        encoder_model=str(checkpoints("sentence-encoder")),
        device="cpu",
    )


def answers(result: dict[str, Any]) -> list[ToolMessage]:
    return [message for message in result["messages"] if isinstance(message, ToolMessage)]


@both_ways
def test_three_parallel_calls_in_one_turn(toolkit: XLMToolkit, run: Run) -> None:
    model = ScriptedModel(turns=[THREE_CALLS, "Done."])
    result = run(create_agent(model, tools=toolkit.get_tools()), "Do three things.")

    assert model.bound == ["xlm_translate", "xlm_summarize", "xlm_sentiment"]
    translation, summary, sentiment = answers(result)
    assert [m.status for m in (translation, summary, sentiment)] == ["success"] * 3
    assert [m.tool_call_id for m in (translation, summary, sentiment)] == ["0-0", "0-1", "0-2"]

    assert translation.artifact["source_language"] == "en"
    assert translation.artifact["target_language"] == "de"
    assert [p["source"] for p in translation.artifact["pieces"]] == ["Good morning!"]
    assert translation.text.startswith(translation.artifact["text"])

    assert summary.artifact["strategy"] == "extractive"
    assert len(summary.artifact["sentences"]) == 2
    assert all(s["text"] in ARTICLE for s in summary.artifact["sentences"])
    assert summary.text == summary.artifact["text"]

    scores = sentiment.artifact["scores"]
    assert set(scores) == {"negative", "neutral", "positive"}
    assert sentiment.artifact["label"] == max(scores, key=scores.__getitem__)
    assert sentiment.text.startswith(sentiment.artifact["label"])

    # What the model reads at its next turn is the content, not the artifact.
    shown = [m for m in model.seen[1] if isinstance(m, ToolMessage)]
    assert [m.text for m in shown] == [translation.text, summary.text, sentiment.text]
    assert result["messages"][-1].text == "Done."


@both_ways
def test_parallel_calls_answer_as_single_ones(toolkit: XLMToolkit, run: Run) -> None:
    model = ScriptedModel(turns=[THREE_CALLS, "Done."])
    together = answers(run(create_agent(model, tools=toolkit.get_tools()), "All."))
    tools = {tool.name: tool for tool in toolkit.get_tools()}
    assert isinstance(THREE_CALLS, list)
    for message, (name, arguments) in zip(together, THREE_CALLS, strict=True):
        alone = tools[name].invoke(
            {"type": "tool_call", "id": "1", "name": name, "args": arguments}
        )
        assert alone.text == message.text


GERMAN = {"target_language": "German"}
MENDABLE: list[tuple[str, dict[str, Any], str, dict[str, Any]]] = [
    ("xlm_translate", {"text": "Good morning!", "target_language": "Frnech"}, "French", GERMAN),
    ("xlm_translate", {"text": "Good morning!", "target_language": "tlh"}, "tlh", GERMAN),
    ("xlm_translate", {"text": "Good morning!"}, "target_language", GERMAN),
    ("xlm_translate", {"text": "  ", "target_language": "de"}, "blank", {"text": "Good morning!"}),
    ("xlm_summarize", {"text": None}, "text", {"text": ARTICLE}),
    ("xlm_summarize", {"text": ARTICLE, "target_language": "Germna"}, "German", GERMAN),
    ("xlm_summarize", {"text": ARTICLE, "max_sentences": 0}, "max_sentences", {"max_sentences": 1}),
    ("xlm_sentiment", {"text": 12}, "string", {"text": "12 points!"}),
    ("xlm_sentiment", {"text": "half \ud83d"}, "surrogate", {"text": "half"}),
    ("xlm_sentiment", {}, "text", {"text": "Good."}),
]  # fmt: skip


@both_ways
@pytest.mark.parametrize(("name", "wrong", "said", "mended"), MENDABLE)
def test_the_agent_goes_on_after_a_mendable_error(
    toolkit: XLMToolkit,
    run: Run,
    name: str,
    wrong: dict[str, Any],
    said: str,
    mended: dict[str, Any],
) -> None:
    model = ScriptedModel(turns=[[(name, wrong)], [(name, {**wrong, **mended})], "Done."])
    result = run(create_agent(model, tools=toolkit.get_tools()), "Try.")
    first, second = answers(result)
    assert first.status == "error"
    assert said in first.text
    assert first.artifact is None
    assert second.status == "success"
    assert second.artifact
    assert result["messages"][-1].text == "Done."


@both_ways
def test_one_bad_call_among_good_ones(toolkit: XLMToolkit, run: Run) -> None:
    assert isinstance(THREE_CALLS, list)
    turn: Turn = [*THREE_CALLS, ("xlm_sentiment", {"text": ""})]
    model = ScriptedModel(turns=[turn, "Done."])
    result = run(create_agent(model, tools=toolkit.get_tools()), "Four things.")
    assert [m.status for m in answers(result)] == ["success"] * 3 + ["error"]
    assert result["messages"][-1].text == "Done."


@both_ways
def test_a_broken_checkpoint_does_not_kill_the_agent(
    tmp_path: Path, checkpoints: Checkpoints, run: Run
) -> None:
    toolkit = XLMToolkit(
        translation_model=str(checkpoints("sentence-encoder")),  # made for another task
        sentiment_model=str(tmp_path / "nowhere"),
        encoder_model=str(checkpoints("sentence-encoder")),
        device="cpu",
    )
    model = ScriptedModel(turns=[THREE_CALLS, "Sorry."])
    translation, summary, sentiment = answers(
        run(create_agent(model, tools=toolkit.get_tools()), "All.")
    )
    assert (translation.status, summary.status, sentiment.status) == ("error", "success", "error")
    assert "seq2seq" in translation.text
    assert "nowhere" in sentiment.text


@both_ways
def test_many_calls_in_one_turn_keep_their_texts_apart(toolkit: XLMToolkit, run: Run) -> None:
    turn: Turn = [
        (
            "xlm_translate",
            {"text": f"This is number {n}.", "target_language": ("de", "fr", "es")[n % 3]},
        )
        for n in range(12)
    ]
    model = ScriptedModel(turns=[turn, "Done."])
    messages = answers(run(create_agent(model, tools=toolkit.get_tools()), "Many."))
    for n, message in enumerate(messages):
        assert message.artifact["target_language"] == ("de", "fr", "es")[n % 3]
        assert [p["source"] for p in message.artifact["pieces"]] == [f"This is number {n}."]
