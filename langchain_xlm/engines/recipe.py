"""How a checkpoint turns token states into one vector: prompts, pooling, layers, window.

The recipe is read from the files that sentence-transformers saves beside the weights; what they
do not say comes from the table of known families, and last from sentence-transformers' defaults.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Literal, get_args

from langchain_xlm.errors import IncompatibleModelError

PoolingMode = Literal["cls", "max", "mean", "mean_sqrt_len_tokens", "weightedmean", "lasttoken"]
Purpose = Literal["query", "document"]

# The order is that of the concatenation where a checkpoint uses several modes at once.
_SAVED_FLAGS: Mapping[str, PoolingMode] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}
# The names under which checkpoints save the prompt of each purpose, the first found wins.
_PROMPT_NAMES: Mapping[Purpose, tuple[str, ...]] = {
    "query": ("query",),
    "document": ("document", "passage", "corpus"),
}


@dataclass(frozen=True, slots=True)
class DenseLayer:
    """A linear layer behind the pooling.

    Attributes:
        folder: Where its `model.safetensors` lies, relative to the checkpoint.
        activation: Path of the activation's class, such as `torch.nn.modules.activation.Tanh`.
    """

    folder: str
    activation: str


@dataclass(frozen=True, slots=True)
class Recipe:
    """Everything between text and vector that is not the transformer itself.

    Attributes:
        pooling: Modes whose results are concatenated.
        dense: Linear layers behind the pooling, in order.
        normalize: Whether vectors are scaled to length 1.
        query_prompt: Put in front of a query.
        document_prompt: Put in front of a document.
        include_prompt: Whether the prompt's tokens take part in the pooling.
        window: Longest input with special tokens; None leaves it to the model.
        lowercase: Whether text is lower-cased first.
    """

    pooling: tuple[PoolingMode, ...] = ("mean",)
    dense: tuple[DenseLayer, ...] = ()
    normalize: bool = False
    query_prompt: str = ""
    document_prompt: str = ""
    include_prompt: bool = True
    window: int | None = None
    lowercase: bool = False


@dataclass(frozen=True, slots=True)
class KnownFamily:
    """What the authors of a family prescribe, for checkpoints whose files do not say it.

    Attributes:
        pattern: Must be found in the hub id or folder name.
        pooling: The pooling mode.
        normalize: Whether vectors are scaled to length 1.
        query_prompt: Put in front of a query.
        document_prompt: Put in front of a document.
        source: Where it is prescribed.
    """

    pattern: str
    pooling: PoolingMode
    normalize: bool
    query_prompt: str
    document_prompt: str
    source: str


KNOWN_FAMILIES: tuple[KnownFamily, ...] = (
    KnownFamily(
        pattern=r"multilingual-e5-large-instruct",
        pooling="mean",
        normalize=True,
        query_prompt=(
            "Instruct: Given a web search query, retrieve relevant passages that answer the query\n"
            "Query: "
        ),
        document_prompt="",
        source="https://huggingface.co/intfloat/multilingual-e5-large-instruct",
    ),
    KnownFamily(
        pattern=r"multilingual-e5-(small|base|large)",
        pooling="mean",
        normalize=True,
        query_prompt="query: ",
        document_prompt="passage: ",
        source="Wang et al. 2024, https://arxiv.org/abs/2402.05672",
    ),
    KnownFamily(
        pattern=r"bge-m3",
        pooling="cls",
        normalize=True,
        query_prompt="",
        document_prompt="",
        source="Chen et al. 2024, https://arxiv.org/abs/2402.03216",
    ),
    KnownFamily(
        pattern=r"snowflake-arctic-embed-[ml]-v2",
        pooling="cls",
        normalize=True,
        query_prompt="query: ",
        document_prompt="",
        source="Yu et al. 2024, https://arxiv.org/abs/2412.04506",
    ),
)


def find_known_family(model: str) -> KnownFamily | None:
    """Return the known family of a hub id or folder name, or None."""
    return next(
        (row for row in KNOWN_FAMILIES if re.search(row.pattern, model, re.IGNORECASE)), None
    )


def read_recipe(
    model: str,
    *,
    modules: Sequence[Mapping[str, Any]] | None,
    files: Mapping[str, Mapping[str, Any]],
) -> Recipe:
    """Put a recipe together from a checkpoint's files.

    Args:
        model: Hub id or folder, to find the known family and for errors.
        modules: Content of `modules.json`, or None where there is none.
        files: Content of the JSON files that exist, by path relative to the checkpoint:
            `config_sentence_transformers.json`, `sentence_bert_config.json` and the
            `config.json` of each module's folder.

    Returns:
        The recipe.

    Raises:
        IncompatibleModelError: A module or pooling mode that is not known here; leaving it out
            would give other vectors than the authors meant.

    Source:
        The layout of sentence-transformers, https://sbert.net/docs/sentence_transformer/usage/
        custom_models.html
    """
    known = find_known_family(model)
    saved = files.get("config_sentence_transformers.json", {})
    transformer = files.get("sentence_bert_config.json", {})
    prompts: Mapping[str, str | None] = saved.get("prompts") or {}
    query = _saved_prompt(prompts, "query")
    document = _saved_prompt(prompts, "document")
    if known is not None and not query and not document:
        query, document = known.query_prompt, known.document_prompt

    pooling: tuple[PoolingMode, ...] = (known.pooling,) if known else ("mean",)
    normalize = known.normalize if known else False
    include_prompt = True
    dense: list[DenseLayer] = []
    if modules is not None:
        normalize = False
        for module in modules:
            kind = str(module["type"]).rpartition(".")[2]
            folder = str(module.get("path", ""))
            config = files.get(f"{folder}/config.json", {})
            if kind == "Transformer":
                transformer = files.get(f"{folder}/sentence_bert_config.json", transformer)
            elif kind == "Pooling":
                pooling = _saved_pooling(model, config)
                include_prompt = bool(config.get("include_prompt", True))
            elif kind == "Dense":
                dense.append(_saved_dense(model, folder, config))
            elif kind == "Normalize":
                normalize = True
            else:
                raise IncompatibleModelError(
                    model,
                    task="an encoder",
                    found=f"its modules.json asks for a module {module['type']!r}",
                    advice="Transformer, Pooling, Dense and Normalize are understood; "
                    "use HuggingFaceEmbeddings for this checkpoint.",
                )
    return Recipe(
        pooling=pooling,
        dense=tuple(dense),
        normalize=normalize,
        query_prompt=query,
        document_prompt=document,
        include_prompt=include_prompt,
        window=transformer.get("max_seq_length"),
        lowercase=bool(transformer.get("do_lower_case", False)),
    )


def _saved_prompt(prompts: Mapping[str, str | None], purpose: Purpose) -> str:
    # A default prompt is left alone, as in sentence-transformers' encode_query and
    # encode_document: it would put the prompt of one purpose in front of the other's texts.
    return next((prompts[name] or "" for name in _PROMPT_NAMES[purpose] if prompts.get(name)), "")


def _saved_pooling(model: str, config: Mapping[str, Any]) -> tuple[PoolingMode, ...]:
    named = config.get("pooling_mode")
    if named is None:
        named = [mode for flag, mode in _SAVED_FLAGS.items() if config.get(flag)] or ["mean"]
    modes = (named,) if isinstance(named, str) else tuple(named)
    for mode in modes:
        if mode not in get_args(PoolingMode):
            raise IncompatibleModelError(
                model,
                task="an encoder",
                found=f"its pooling mode is {mode!r}",
                advice=f"Known modes: {', '.join(get_args(PoolingMode))}.",
            )
    return modes


def _saved_dense(model: str, folder: str, config: Mapping[str, Any]) -> DenseLayer:
    unusual = [
        key
        for key, usual in (("use_residual", False), ("module_input_name", "sentence_embedding"))
        if config.get(key, usual) != usual
    ]
    if config.get("module_output_name") not in (None, "sentence_embedding"):
        unusual.append("module_output_name")
    activation = config.get("activation_function", "torch.nn.modules.activation.Tanh")
    if unusual or not str(activation).startswith("torch.nn."):
        raise IncompatibleModelError(
            model,
            task="an encoder",
            found=f"its layer {folder!r} has {', '.join(unusual) or activation!r}",
            advice="A linear layer with an activation of torch.nn on the sentence vector is "
            "understood; use HuggingFaceEmbeddings for this checkpoint.",
        )
    return DenseLayer(folder=folder, activation=str(activation))
