from __future__ import annotations

from typing import Any

import pytest

from langchain_xlm.engines.recipe import DenseLayer, Recipe, find_known_family, read_recipe
from langchain_xlm.errors import IncompatibleModelError

TRANSFORMER = {"type": "sentence_transformers.models.Transformer", "path": ""}
POOLING = {"type": "sentence_transformers.models.Pooling", "path": "1_Pooling"}
DENSE = {"type": "sentence_transformers.models.Dense", "path": "2_Dense"}
NORMALIZE = {"type": "sentence_transformers.models.Normalize", "path": "3_Normalize"}


def recipe(
    *modules: dict[str, str], model: str = "somebody/encoder", **files: dict[str, Any]
) -> Recipe:
    paths = {
        "saved": "config_sentence_transformers.json",
        "transformer": "sentence_bert_config.json",
        "pooling": "1_Pooling/config.json",
        "dense": "2_Dense/config.json",
    }
    return read_recipe(
        model,
        modules=modules or None,
        files={paths[name]: content for name, content in files.items()},
    )


def test_a_bare_checkpoint_is_averaged_and_left_at_its_length() -> None:
    assert recipe() == Recipe(pooling=("mean",), normalize=False)


def test_everything_saved_is_read() -> None:
    made = recipe(
        TRANSFORMER,
        POOLING,
        DENSE,
        NORMALIZE,
        pooling={"pooling_mode_cls_token": True, "include_prompt": False},
        dense={"activation_function": "torch.nn.modules.activation.GELU"},
        transformer={"max_seq_length": 77, "do_lower_case": True},
        saved={"prompts": {"query": "Q: ", "passage": "P: "}},
    )
    assert made == Recipe(
        pooling=("cls",),
        dense=(DenseLayer("2_Dense", "torch.nn.modules.activation.GELU"),),
        normalize=True,
        query_prompt="Q: ",
        document_prompt="P: ",
        include_prompt=False,
        window=77,
        lowercase=True,
    )


@pytest.mark.parametrize(
    ("saved", "modes"),
    [
        ({"pooling_mode_mean_tokens": True, "pooling_mode_cls_token": True}, ("cls", "mean")),
        ({"pooling_mode": "lasttoken"}, ("lasttoken",)),
        ({"pooling_mode": ["max", "mean"]}, ("max", "mean")),
        ({}, ("mean",)),
    ],
)
def test_pooling_is_read_in_its_old_and_its_new_spelling(
    saved: dict[str, Any], modes: tuple[str, ...]
) -> None:
    assert recipe(TRANSFORMER, POOLING, pooling=saved).pooling == modes


@pytest.mark.parametrize("name", ["document", "passage", "corpus"])
def test_the_document_prompt_is_found_under_each_name_in_use(name: str) -> None:
    made = recipe(TRANSFORMER, POOLING, saved={"prompts": {name: "D: "}})
    assert (made.query_prompt, made.document_prompt) == ("", "D: ")


def test_a_default_prompt_does_not_leak_into_documents() -> None:
    made = recipe(
        TRANSFORMER,
        POOLING,
        saved={"prompts": {"query": "Q: "}, "default_prompt_name": "query"},
    )
    assert made.document_prompt == ""


@pytest.mark.parametrize(
    ("model", "query", "document", "pooling"),
    [
        ("intfloat/multilingual-e5-base", "query: ", "passage: ", "mean"),
        ("/models/multilingual-e5-small", "query: ", "passage: ", "mean"),
        ("BAAI/bge-m3", "", "", "cls"),
        ("Snowflake/snowflake-arctic-embed-l-v2.0", "query: ", "", "cls"),
    ],
)
def test_known_families_say_what_their_files_do_not(
    model: str, query: str, document: str, pooling: str
) -> None:
    made = recipe(model=model)
    assert (made.query_prompt, made.document_prompt) == (query, document)
    assert made.pooling == (pooling,)
    assert made.normalize


def test_the_instruct_variant_is_told_from_its_plain_sister() -> None:
    made = recipe(model="intfloat/multilingual-e5-large-instruct")
    assert made.query_prompt.startswith("Instruct: ")
    assert made.document_prompt == ""


def test_saved_prompts_win_over_those_of_the_known_family() -> None:
    made = recipe(
        TRANSFORMER,
        POOLING,
        model="me/multilingual-e5-base-mine",
        saved={"prompts": {"query": "frage: ", "document": "text: "}},
    )
    assert (made.query_prompt, made.document_prompt) == ("frage: ", "text: ")


def test_a_known_family_with_modules_but_no_prompts_gets_its_prompts() -> None:
    made = recipe(TRANSFORMER, POOLING, NORMALIZE, model="intfloat/multilingual-e5-base", saved={})
    assert made.query_prompt == "query: "


def test_an_unknown_name_is_no_known_family() -> None:
    assert find_known_family("somebody/encoder") is None


def test_an_unknown_module_is_refused_by_name() -> None:
    with pytest.raises(IncompatibleModelError, match="WordWeights"):
        recipe(TRANSFORMER, {"type": "sentence_transformers.models.WordWeights", "path": "1"})


def test_an_unknown_pooling_mode_is_refused_by_name() -> None:
    with pytest.raises(IncompatibleModelError, match="'median'"):
        recipe(TRANSFORMER, POOLING, pooling={"pooling_mode": "median"})


@pytest.mark.parametrize(
    "config",
    [
        {"activation_function": "somebody.else.Activation"},
        {"use_residual": True},
        {"module_output_name": "token_embeddings"},
    ],
)
def test_an_unusual_layer_is_refused_rather_than_guessed(config: dict[str, Any]) -> None:
    with pytest.raises(IncompatibleModelError, match="2_Dense"):
        recipe(TRANSFORMER, POOLING, DENSE, dense=config)
