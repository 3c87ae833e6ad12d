"""The toolkit: which tools, which models, how they are shared."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pydantic import ValidationError

from langchain_xlm.models.config import LoadingFields
from langchain_xlm.retrieval.embeddings import XLMEmbeddings
from langchain_xlm.runtime.pool import loaded_models, unload_models
from langchain_xlm.tools.sentiment import XLMSentimentTool
from langchain_xlm.tools.summarization import XLMSummarizationTool
from langchain_xlm.tools.tool import XLMTool
from langchain_xlm.tools.toolkit import XLMToolkit
from langchain_xlm.tools.translation import XLMTranslationTool

Checkpoints = Callable[..., Path]


@pytest.fixture(autouse=True)
def _unloaded() -> Iterator[None]:
    yield
    unload_models()


@pytest.fixture
def toolkit(checkpoints: Checkpoints) -> XLMToolkit:
    return XLMToolkit(
        translation_model=str(checkpoints("m2m100")),
        sentiment_model=str(checkpoints("xlm-roberta-classifier")),
        encoder_model=str(checkpoints("sentence-encoder")),
        device="cpu",
    )


def tools_of(toolkit: XLMToolkit) -> dict[str, XLMTool]:
    tools = toolkit.get_tools()
    assert all(isinstance(tool, XLMTool) for tool in tools)
    return {tool.name: tool for tool in tools}  # type: ignore[misc]


def test_the_three() -> None:
    kinds = [type(tool) for tool in XLMToolkit().get_tools()]
    assert kinds == [XLMTranslationTool, XLMSummarizationTool, XLMSentimentTool]


def test_a_subset_in_its_order() -> None:
    names = [tool.name for tool in XLMToolkit(tools=("sentiment", "translate")).get_tools()]
    assert names == ["xlm_sentiment", "xlm_translate"]


@pytest.mark.parametrize("tools", [(), ("translate", "translate"), ("translator",), "translate"])
def test_subsets_that_cannot_be(tools: object) -> None:
    with pytest.raises(ValidationError):
        XLMToolkit(tools=tools)  # type: ignore[arg-type]


def test_misspelt_fields_are_refused() -> None:
    with pytest.raises(ValidationError, match="quantisation"):
        XLMToolkit(quantisation="4bit")  # type: ignore[call-arg]
    with pytest.raises(ValidationError, match="label_meanings"):
        XLMToolkit(label_meanings=5)  # type: ignore[arg-type]


# What is quantized cannot go to the disk, so no one configuration has every field.
EVERYWHERE = {
    "device_map": "auto",
    "max_memory": {"cpu": "4GiB"},
    "dtype": "bfloat16",
    "attn_implementation": "sdpa",
    "token": "secret",
    "cache_dir": "/tmp/cache",
    "local_files_only": True,
}
APART = ({"quantization": "4bit"}, {"offload_folder": "/tmp/offload"})


@pytest.mark.parametrize("apart", APART, ids=lambda apart: next(iter(apart)))
def test_every_loading_field_reaches_every_model(apart: dict[str, str]) -> None:
    values = EVERYWHERE | apart
    untested = set(LoadingFields.model_fields).difference(EVERYWHERE, *APART)
    assert untested == {"backend", "model", "revision", "device", "trust_remote_code"}
    toolkit = XLMToolkit(**values, encoder_model="intfloat/multilingual-e5-base")  # type: ignore[arg-type]
    for tool in tools_of(toolkit).values():
        for spec in tool.specs():
            alone = LoadingFields(**values).load_spec(spec.task, model=spec.model)  # type: ignore[arg-type]
            assert spec == alone


def test_overrides_go_to_their_tools(checkpoints: Checkpoints, toolkit: XLMToolkit) -> None:
    tools = tools_of(toolkit)
    translator, encoder = str(checkpoints("m2m100")), str(checkpoints("sentence-encoder"))
    assert [s.model for s in tools["xlm_translate"].specs()] == [translator]
    assert [s.model for s in tools["xlm_summarize"].specs()] == [encoder, translator]
    assert [s.model for s in tools["xlm_sentiment"].specs()] == [
        str(checkpoints("xlm-roberta-classifier"))
    ]


def test_a_revision_stays_with_its_model() -> None:
    toolkit = XLMToolkit(
        model="facebook/nllb-200-distilled-600M",
        revision="abc",
        encoder_model="intfloat/multilingual-e5-base",
        sentiment_model="cardiffnlp/twitter-xlm-roberta-base-sentiment",
        check_similarity=True,
    )
    tools = tools_of(toolkit)
    found = {(s.model, s.revision) for tool in tools.values() for s in tool.specs()}
    assert found == {
        ("facebook/nllb-200-distilled-600M", "abc"),
        ("intfloat/multilingual-e5-base", None),
        ("cardiffnlp/twitter-xlm-roberta-base-sentiment", None),
    }


def test_a_revision_follows_its_model_into_other_tools() -> None:
    toolkit = XLMToolkit(
        model="intfloat/multilingual-e5-base",
        revision="abc",
        translation_model="facebook/nllb-200-distilled-600M@v2",
        check_similarity=True,
    )
    tools = tools_of(toolkit)
    translator = ("facebook/nllb-200-distilled-600M", "v2")
    encoder = ("intfloat/multilingual-e5-base", "abc")
    for name, expected in {
        "xlm_translate": [translator, encoder],
        "xlm_summarize": [encoder, translator],
    }.items():
        assert [(s.model, s.revision) for s in tools[name].specs()] == expected


def test_a_writer_of_summaries(checkpoints: Checkpoints) -> None:
    writer = str(checkpoints("mt5"))
    toolkit = XLMToolkit(summarization_model=writer, summarization_prompt="summarize: ")
    tool = tools_of(toolkit)["xlm_summarize"]
    assert isinstance(tool, XLMSummarizationTool)
    assert tool.specs()[0].model == writer
    assert tool.prompt == "summarize: "


def test_one_model_serves_all_that_need_it(toolkit: XLMToolkit) -> None:
    """One encoder for summaries, similarity and embeddings; one translator for two tools."""
    toolkit = toolkit.model_copy(update={"check_similarity": True})
    tools = tools_of(toolkit)
    text = "The bridge is old. It has many cracks. A new one is planned by the city. It costs."
    arguments = {"text": text, "target_language": "de"}
    assert tools["xlm_translate"].invoke(arguments)
    assert tools["xlm_summarize"].invoke({**arguments, "max_sentences": 1})
    XLMEmbeddings(model=toolkit.encoder_model or "", device="cpu").embed_query("bridge")
    assert sorted(spec.task for spec in loaded_models()) == ["encoder", "seq2seq"]


def test_with_unloads(toolkit: XLMToolkit) -> None:
    with toolkit:
        tools_of(toolkit)["xlm_sentiment"].invoke({"text": "Good."})
        assert loaded_models()
    assert loaded_models() == []


def test_limits_reach_the_tools() -> None:
    assert {tool.timeout_s for tool in tools_of(XLMToolkit(timeout_s=7)).values()} == {7}
