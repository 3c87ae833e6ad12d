"""Whether a checkpoint can do what is asked of it, told from its files as early as possible."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import TYPE_CHECKING, Any, NoReturn, cast

from langchain_xlm.errors import IncompatibleModelError, ModelNotFoundError
from langchain_xlm.models import files
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.families import PRETRAINED_ONLY, advice_for, families_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel, PreTrainedTokenizerBase

__all__ = ["check_loaded_weights", "check_vocabulary", "read_settings"]

# Any of these holds a vocabulary; without one, tokenizers of transformers 5 come out empty
# instead of failing.
_VOCABULARY_FILES = (
    "tokenizer.json",
    "sentencepiece.bpe.model",
    "vocab.json",
    "spiece.model",
    "source.spm",
    "tokenizer.model",
)
# Where the weights of heads are found in the models that have one.
_HEADS = ("classifier", "sequence_summary", "lm_head", "decoder.lm_head")


def read_settings(spec: LoadSpec, *, with_tokenizer: bool = True) -> dict[str, Any]:
    """Read config.json and refuse what it shows cannot work, before any weights are read.

    Args:
        spec: What to load.
        with_tokenizer: Whether there must be a tokenizer, which is fetched if need be.

    Returns:
        The content of config.json.

    Raises:
        ModelNotFoundError: There is no config.json or no tokenizer.
        ModelLoadError: config.json is damaged.
        IncompatibleModelError: The checkpoint is outside the family, or lacks the needed head.
    """
    settings = files.read_json(spec, "config.json")
    if settings is None:
        raise ModelNotFoundError(
            spec.model, "it has no config.json. Give a checkpoint in Hugging Face format."
        )
    row = families_of(settings.get("model_type"), task=spec.task, model=spec.model)[0]
    if spec.model in PRETRAINED_ONLY:
        _refuse(spec, "it was only pretrained to fill gaps, and writes noise")
    for side in ("encoder", "decoder") if row.parts else ():
        part = settings.get(side)
        found = part.get("model_type") if isinstance(part, Mapping) else None
        if found not in row.parts:
            _refuse(spec, f"its {side} is a {found!r} model, not one of {', '.join(row.parts)}")
    if spec.task in ("classifier", "cross-encoder"):
        _check_head(spec, settings)
    if with_tokenizer and not any(files.find_file(spec, name) for name in _VOCABULARY_FILES):
        raise ModelNotFoundError(
            spec.model, "it has no tokenizer. Save the tokenizer into the same folder."
        )
    return settings


def _check_head(spec: LoadSpec, settings: Mapping[str, Any]) -> None:
    architectures = settings.get("architectures") or []
    if architectures and not any("SequenceClassification" in name for name in architectures):
        _refuse(spec, f"it is saved as {architectures[0]}, which has no classification head")
    labels = settings.get("id2label")
    # The default of transformers where a config names none.
    count = len(labels) if labels else settings.get("num_labels", 2)
    if spec.task == "classifier" and count == 1:
        _refuse(spec, "its head gives one score, as those of cross-encoders do")
    if spec.task == "cross-encoder" and count != 1:
        _refuse(spec, f"its head tells {count} classes apart instead of one score")


def check_loaded_weights(
    spec: LoadSpec, settings: Mapping[str, Any], report: Mapping[str, Collection[Any]]
) -> None:
    """Refuse a model some of whose weights were not in the checkpoint: they would be random.

    Args:
        spec: What was loaded.
        settings: The content of config.json.
        report: What transformers tells: `missing_keys`, tied and optional ones left out, and
            `mismatched_keys`, each with the two shapes.

    Raises:
        IncompatibleModelError: There are such weights.
    """
    for name, saved, wanted in sorted(report["mismatched_keys"]):
        _refuse(
            spec,
            f"its files hold {name} of shape {tuple(saved)} where its config.json asks for"
            f" {tuple(wanted)}",
        )
    if not report["missing_keys"]:
        return
    names = sorted(report["missing_keys"])
    shown = ", ".join(names[:3]) + (", ..." if len(names) > 3 else "")
    if all(name.startswith(_HEADS) for name in names):
        _refuse(spec, f"its files have no weights for the head ({shown})")
    own_code = (
        "; it brings code of its own (auto_map), which runs only with trust_remote_code=True"
        if "auto_map" in settings and not spec.trust_remote_code
        else ""
    )
    _refuse(spec, f"its files lack {len(names)} weights of the model ({shown}){own_code}")


def check_vocabulary(
    spec: LoadSpec,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    language_tokens: Collection[str],
) -> None:
    """Refuse a tokenizer that writes pieces the model has no vectors for.

    Args:
        spec: What was loaded.
        model: The model.
        tokenizer: Its tokenizer.
        language_tokens: Tokens of the vocabulary that name languages.

    Raises:
        IncompatibleModelError: The two do not belong together.
    """
    embeddings = cast("torch.nn.Embedding", model.get_input_embeddings())
    rows = embeddings.num_embeddings
    ids = [cast("int", tokenizer.convert_tokens_to_ids(token)) for token in language_tokens]
    highest = max([tokenizer.vocab_size - 1, *ids])
    if highest >= rows:
        _refuse(
            spec,
            f"its tokenizer has a piece numbered {highest}, but the model only {rows} vectors, so"
            " the two do not belong together",
        )


def _refuse(spec: LoadSpec, found: str) -> NoReturn:
    raise IncompatibleModelError(
        spec.model, task=spec.task, found=found, advice=advice_for(spec.task)
    )
