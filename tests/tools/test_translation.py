from __future__ import annotations

import asyncio
import json
import random
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest
from langchain_core.language_models import BaseChatModel
from langchain_core.messages import AIMessage, BaseMessage, ToolMessage
from langchain_core.outputs import ChatGeneration, ChatResult
from langchain_tests.unit_tests import ToolsUnitTests
from pydantic import ValidationError

from langchain_xlm.errors import UnsupportedLanguageError
from langchain_xlm.runtime.pool import loaded_models, unload_models
from langchain_xlm.tools.translation import XLMTranslationTool, describe_flags

Checkpoints = Callable[..., Path]

ENGLISH = "The weather is nice today and the children play in the garden."
GERMAN = "Das Wetter ist heute schön und die Kinder spielen im Garten."
FRENCH = "Il fait beau aujourd'hui et les enfants jouent dans le jardin."


@pytest.fixture(autouse=True)
def _unload() -> Iterator[None]:
    yield
    unload_models()


def tool_of(folder: Path, **fields: Any) -> XLMTranslationTool:
    return XLMTranslationTool(
        model=str(folder), **({"dtype": "float32", "max_new_tokens": 6} | fields)
    )


def call(**arguments: Any) -> dict[str, Any]:
    return {"name": "xlm_translate", "args": arguments, "id": "1", "type": "tool_call"}


def test_the_artifact_holds_everything(checkpoints: Checkpoints) -> None:
    folder = checkpoints("nllb")
    message = tool_of(folder).invoke(call(text=f"{ENGLISH}\n\n12:30", target_language="French"))
    artifact = message.artifact
    assert message.status == "success"
    assert set(artifact) == {
        "text", "source_language", "target_language", "detected", "pieces", "similarity", "flags",
        "model", "revision", "backend",
    }  # fmt: skip
    assert (artifact["source_language"], artifact["target_language"]) == ("en", "fr")
    assert artifact["detected"]["language"] == "en"
    assert artifact["detected"]["confidence"] > 0.9
    assert [piece["source"] for piece in artifact["pieces"]] == [ENGLISH, "12:30"]
    assert artifact["pieces"][1] == {
        "source": "12:30", "translation": "12:30", "flags": ["copied"],
    }  # fmt: skip
    assert artifact["text"] == f"{artifact['pieces'][0]['translation']}\n\n12:30"
    assert message.content.startswith(artifact["text"])
    assert (artifact["model"], artifact["revision"]) == (str(folder), None)
    assert artifact["similarity"] is None
    assert json.loads(json.dumps(artifact)) == artifact


def test_a_named_source_is_not_detected(checkpoints: Checkpoints) -> None:
    result = tool_of(checkpoints("nllb")).translate(ENGLISH, "fr", "English")
    assert (result.source_language, result.detected) == ("en", None)


@pytest.mark.parametrize("unknown", ["", "auto", " Detect "])
def test_what_models_write_for_unknown_means_detect(unknown: str, checkpoints: Checkpoints) -> None:
    arguments = call(text=ENGLISH, target_language="fr", source_language=unknown)
    artifact = tool_of(checkpoints("nllb")).invoke(arguments).artifact
    assert artifact["detected"]["language"] == "en"


@pytest.mark.parametrize("source", [None, "de"])
def test_a_text_in_the_target_language_comes_back(
    source: str | None, checkpoints: Checkpoints
) -> None:
    text = f"  {GERMAN}\n"
    message = tool_of(checkpoints("nllb")).invoke(
        call(text=text, target_language="Deutsch", source_language=source)
    )
    assert message.artifact["text"] == text
    assert message.artifact["flags"] == ["same_language"]
    assert message.content.startswith(text)
    assert "already in the target language" in message.content.splitlines()[-1]


def test_scripts_of_one_language_are_translated(checkpoints: Checkpoints) -> None:
    result = tool_of(checkpoints("nllb")).translate("今天天气很好，孩子们在花园里玩。", "zh-Hant")
    assert (result.source_language, result.target_language) == ("zh-Hans", "zh-Hant")
    assert "same_language" not in result.flags


@pytest.mark.parametrize(
    ("arguments", "sentences"),
    [
        ({"target_language": "Frnech"}, ["'Frnech'", "French (fr)"]),
        ({"target_language": "Klingon"}, ["Klingon"]),
        ({"target_language": "fr", "source_language": "Englisch!"}, ["Englisch!"]),
        ({"target_language": "th"}, ["'th'", "does not know", "know"]),
        ({"target_language": 5}, ["target_language: Input should be a valid string."]),
        ({}, ["target_language: Field required."]),
    ],
)
def test_languages_that_cannot_be_are_mendable(
    arguments: dict[str, Any], sentences: list[str], checkpoints: Checkpoints
) -> None:
    tool = tool_of(checkpoints("encoder-decoder"))
    message = tool.invoke(call(text=ENGLISH, **arguments))
    assert message.status == "error"
    assert any(sentence in message.content for sentence in sentences)
    good = tool.invoke(call(text=ENGLISH, target_language="fr"))
    assert good.status == "success", "the tool goes on after an error"


def test_programs_get_the_error_itself(checkpoints: Checkpoints) -> None:
    with pytest.raises(UnsupportedLanguageError):
        tool_of(checkpoints("nllb")).translate(ENGLISH, "Frnech")


@pytest.mark.parametrize(
    "text",
    [
        "12 + 30 = 42 🙂",
        "e\u0301te\u0301 \u200fשלום\u200e abc",
        "a\0b the weather",
        "👩‍👩‍👧‍👦 the children",
    ],
)
def test_unusual_characters_are_translated_or_taken_over(
    text: str, checkpoints: Checkpoints
) -> None:
    message = tool_of(checkpoints("nllb")).invoke(
        call(text=text, target_language="fr", source_language="en")
    )
    assert message.status == "success"
    sources = "".join(piece["source"] for piece in message.artifact["pieces"])
    assert re.sub(r"\s", "", sources) == re.sub(r"\s|\0", "", text)


def test_a_very_long_word_is_cut_and_kept(checkpoints: Checkpoints) -> None:
    text = "xy" * 3_000
    result = tool_of(checkpoints("encoder-decoder"), max_new_tokens=2).translate(text, "fr", "en")
    assert "".join(piece.source for piece in result.pieces) == text


def test_five_hundred_numbers_stay_in_order(checkpoints: Checkpoints) -> None:
    rng = random.Random(0)
    parts = []
    for number in range(500):
        parts.append(f"Sentence number {number} is in the book.")
        parts.append(rng.choice([" ", "\n", "\n\n", "\n \n\n", "\r\n", "\n\t"]))
    text = "\n" + "".join(parts)
    folder = checkpoints("encoder-decoder", window=128)
    result = tool_of(folder, max_new_tokens=2).translate(text, "de", "en")
    found = [int(n) for piece in result.pieces for n in re.findall(r"number (\d+)", piece.source)]
    assert found == list(range(500))
    assert re.findall(r"\s*[\r\n]\s*", result.text) == re.findall(r"\s*[\r\n]\s*", text)
    lines = [line for line in result.text.splitlines() if line.strip()]
    assert len(lines) <= len([line for line in text.splitlines() if line.strip()])


def test_similarity_compares_source_and_translation(checkpoints: Checkpoints) -> None:
    encoder = str(checkpoints("sentence-encoder"))
    tool = tool_of(checkpoints("nllb"), similarity_model=encoder)
    result = tool.translate(ENGLISH, "fr")
    assert result.similarity is not None
    assert -1 <= result.similarity < 0.999
    from sentence_transformers import SentenceTransformer

    left, right = SentenceTransformer(encoder).encode([ENGLISH, result.text])
    cosine = (left @ right) / ((left @ left) ** 0.5 * (right @ right) ** 0.5)
    assert result.similarity == pytest.approx(float(cosine), abs=1e-5)
    assert len(tool.specs()) == len(loaded_models()) == 2
    tool.unload()
    assert loaded_models() == []


def test_beams_and_lengths_reach_the_model(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("langchain_xlm.engines.generator_session.retries", lambda *_, **__: ())
    folder = checkpoints("mbart50")

    def text(**settings: int) -> str:
        return tool_of(folder, **settings).translate(ENGLISH, "fr").text

    short, long = text(max_new_tokens=3), text(max_new_tokens=12)
    assert long.startswith(short)
    assert 0 < len(short) < len(long)
    assert text(max_new_tokens=12, num_beams=4) != long
    assert text(max_new_tokens=12, no_repeat_ngram_size=1) != long


@pytest.mark.parametrize(
    ("field", "value"), [("num_beams", 0), ("max_new_tokens", 0), ("repetition_penalty", -1.0)]
)
def test_settings_out_of_range_are_refused_at_once(field: str, value: float) -> None:
    with pytest.raises(ValidationError, match=f"{field}={value}"):
        XLMTranslationTool(**{field: value})  # type: ignore[arg-type]


def test_the_note_names_what_needs_attention(checkpoints: Checkpoints) -> None:
    tool = tool_of(checkpoints("nllb"))
    result = tool.translate(f"{ENGLISH}\n12", "fr", "en")
    assert "length_limit" in result.flags
    note = describe_flags(result)
    assert note.startswith("Note: ")
    assert "cut off at the length limit of the output (1 of 2 sentences)" in note
    assert "\n" not in note
    assert describe_flags(tool.translate("12:30", "fr")) == "", "nothing to tell of a copy"


def calls_of_many_directions(count: int) -> list[dict[str, str]]:
    rng = random.Random(1)
    sources = {"en": ENGLISH, "de": GERMAN, "fr": FRENCH, "es": "Hoy hace buen tiempo."}
    drawn = []
    for number in range(count):
        source = rng.choice(list(sources))
        target = rng.choice([t for t in ("en", "de", "fr", "ja", "zh-Hans", "ar") if t != source])
        text = f"{sources[source]} {number}"[rng.randrange(3) * 4 :]
        given = {"text": text, "target_language": target}
        drawn.append(given | ({"source_language": source} if rng.random() < 0.7 else {}))
    return drawn


def test_eight_threads_change_nothing(checkpoints: Checkpoints) -> None:
    tool = tool_of(checkpoints("nllb"), max_new_tokens=5)
    calls = calls_of_many_directions(50)
    alone = [tool.invoke(call(**given)) for given in calls]
    wrong: list[Any] = []
    barrier = threading.Barrier(8)

    def work(seed: int) -> None:
        order = random.Random(seed).sample(range(50), 50)
        barrier.wait()
        wrong.extend(i for i in order if tool.invoke(call(**calls[i])) != alone[i])

    threads = [threading.Thread(target=work, args=(seed,)) for seed in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert wrong == []


async def test_fifty_async_calls_equal_sync(checkpoints: Checkpoints) -> None:
    tool = tool_of(checkpoints("nllb"), max_new_tokens=5)
    calls = calls_of_many_directions(50)
    together = await asyncio.gather(*(tool.ainvoke(call(**given)) for given in calls))
    alone = await asyncio.to_thread(lambda: [tool.invoke(call(**given)) for given in calls])
    assert together == alone


async def test_a_program_gets_the_same_in_both_ways(checkpoints: Checkpoints) -> None:
    tool = tool_of(checkpoints("nllb"))
    result = await tool.atranslate(ENGLISH, "fr")
    assert result == await asyncio.to_thread(tool.translate, ENGLISH, "fr")
    assert (
        result.artifact() == (await tool.ainvoke(call(text=ENGLISH, target_language="fr"))).artifact
    )


def test_the_callers_objects_are_not_changed(checkpoints: Checkpoints) -> None:
    tool = tool_of(checkpoints("nllb"))
    given = call(text=ENGLISH, target_language="fr")
    before, fields = json.dumps(given), tool.model_dump(exclude={"handle_validation_error"})
    tool.invoke(given)
    assert json.dumps(given) == before
    assert tool.model_dump(exclude={"handle_validation_error"}) == fields


class ScriptedChat(BaseChatModel):
    """Asks for tool calls as scripted, then repeats what the tools said."""

    turns: list[list[dict[str, Any]]]

    @property
    def _llm_type(self) -> str:
        return "scripted"

    def bind_tools(self, tools: Sequence[Any], **kwargs: Any) -> ScriptedChat:  # type: ignore[override]
        return self

    def _generate(self, messages: list[BaseMessage], *args: Any, **kwargs: Any) -> ChatResult:
        turn = sum(isinstance(message, AIMessage) for message in messages)
        asked = self.turns[turn] if turn < len(self.turns) else []
        message = AIMessage("done" if not asked else "", tool_calls=asked)
        return ChatResult(generations=[ChatGeneration(message=message)])


@pytest.mark.parametrize("asynchronous", [False, True])
def test_an_agent_gets_parallel_answers_and_mends_an_error(
    asynchronous: bool, checkpoints: Checkpoints
) -> None:
    from langchain.agents import create_agent

    tool = tool_of(checkpoints("nllb"))
    asked = ("de", "fr", "Frnech")
    first = [call(text=ENGLISH, target_language=name) | {"id": name} for name in asked]
    second = [call(text=ENGLISH, target_language="French") | {"id": "mended"}]
    agent = create_agent(ScriptedChat(turns=[first, second]), tools=[tool])
    question: Any = {"messages": [("user", "Translate.")]}
    state = asyncio.run(agent.ainvoke(question)) if asynchronous else agent.invoke(question)
    answers = {m.tool_call_id: m for m in state["messages"] if isinstance(m, ToolMessage)}
    assert [answers[key].status for key in ("de", "fr", "Frnech", "mended")] == [
        "success", "success", "error", "success",
    ]  # fmt: skip
    assert answers["de"].artifact["target_language"] == "de"
    assert answers["mended"].artifact == answers["fr"].artifact
    assert "French (fr)" in answers["Frnech"].content
    assert state["messages"][-1].content == "done"


class TestStandardUnit(ToolsUnitTests):
    @property
    def tool_constructor(self) -> type[XLMTranslationTool]:
        return XLMTranslationTool

    @property
    def tool_invoke_params_example(self) -> dict[str, Any]:
        return {"text": ENGLISH, "target_language": "fr"}
