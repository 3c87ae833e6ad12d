"""From a spec to a model and a tokenizer in memory: the only `from_pretrained`."""

from __future__ import annotations

import logging
import threading
import warnings
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.metadata import PackageNotFoundError, version
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import ModelLoadError, XLMError
from langchain_xlm.models import checks, device_maps, files, placement
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.families import Family, find_family
from langchain_xlm.models.memory import freed_at_once, keep_few_kernels
from langchain_xlm.models.quiet import quiet_transformers
from langchain_xlm.models.skeleton import auto_class
from langchain_xlm.models.vocabularies import (
    fixed_language,
    language_tokens,
    languages_of,
    pieces_of,
    window_of,
)
from langchain_xlm.text.languages import ModelLanguages

if TYPE_CHECKING:
    import torch
    from transformers import (
        GenerationConfig,
        PreTrainedConfig,
        PreTrainedModel,
        PreTrainedTokenizerBase,
    )

__all__ = [
    "LoadedCheckpoint",
    "LoadedModel",
    "computes_in_float32",
    "load_checkpoint",
    "load_model",
    "prepare_weights",
]

_log = logging.getLogger("langchain_xlm")
# `from_pretrained` replaces functions of torch and methods of its own classes while it runs: two
# at once leave weights untied, or report tied weights as missing.
_one_at_a_time = threading.Lock()


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedCheckpoint:
    """All that the engines must know about a checkpoint beside its weights.

    Attributes:
        spec: What was asked for.
        tokenizer: Its tokenizer; not safe for two threads at once.
        config: The model's configuration.
        family: The row of the family table.
        languages: The languages that its vocabulary names; None where it names none.
        language_tokens: Every token of the vocabulary that is spelled like a language.
        revision: The hub's commit; the package's version for the starter; None for a folder.
        window: Most input tokens, special tokens included.
        fixed_source: BCP 47 tag of the one language that it reads, where the checkpoint says so.
        fixed_target: BCP 47 tag of the one language that it writes, likewise.
    """

    spec: LoadSpec
    tokenizer: PreTrainedTokenizerBase = field(repr=False)
    config: PreTrainedConfig = field(repr=False)
    family: Family = field(repr=False)
    languages: ModelLanguages | None = field(repr=False)
    language_tokens: tuple[str, ...] = field(repr=False)
    revision: str | None
    window: int
    fixed_source: str | None = None
    fixed_target: str | None = None


@dataclass(frozen=True, eq=False, kw_only=True)
class LoadedModel(LoadedCheckpoint):
    """A model ready to run, with all that the engines must know about it.

    Attributes:
        model: In evaluation mode, without gradients.
        device: Where inputs must go.
    """

    model: PreTrainedModel = field(repr=False)
    device: torch.device

    @property
    def generation_config(self) -> GenerationConfig | None:
        """The checkpoint's settings of generation; None for a model that does not generate."""
        return self.model.generation_config


def load_model(spec: LoadSpec) -> LoadedModel:
    """Load a checkpoint as the spec asks.

    Args:
        spec: What to load and how.

    Returns:
        The model with its tokenizer and what its files say.

    Raises:
        ModelNotFoundError: There is no such checkpoint, or it is not on this machine and may not
            be downloaded, or it lacks a needed file.
        ModelLoadError: Its files are damaged, or not safetensors.
        IncompatibleModelError: The checkpoint cannot do what the task asks.
        ConfigurationError: This machine cannot place it as asked.
        MissingDependencyError: A package is missing.
    """
    keep_few_kernels()
    _note_starter(spec)
    device_maps.check_devices(spec)
    asked, spec = spec, files.pin(spec)
    settings = checks.read_settings(spec)
    placement.check_packages(spec, settings)
    files.find_weights(spec)
    with _one_at_a_time, quiet_transformers():
        tokenizer = _load_tokenizer(spec)
        vocabulary = pieces_of(tokenizer)
        family = find_family(settings["model_type"], vocabulary, task=spec.task, model=spec.model)
        model, report = _load_weights(spec, family)
    tokens = language_tokens(family, vocabulary)
    checks.check_loaded_weights(spec, settings, report)
    device_maps.check_offload(spec, model)
    checks.check_vocabulary(spec, model, tokenizer, tokens)
    return LoadedModel(
        **_described(asked, spec, tokenizer, model.config, family, tokens),
        model=model,
        device=device_maps.input_device(model),
    )


def load_checkpoint(spec: LoadSpec) -> LoadedCheckpoint:
    """Read everything of a checkpoint but its weights, which run elsewhere.

    Args:
        spec: What to load.

    Returns:
        Its tokenizer and what its files say.

    Raises:
        ModelNotFoundError: There is no such checkpoint, or it lacks a needed file.
        ModelLoadError: Its files are damaged.
        IncompatibleModelError: The checkpoint cannot do what the task asks.
        ConfigurationError: This machine lacks a device that is asked for.
        MissingDependencyError: A package is missing.
    """
    device_maps.check_devices(spec)
    asked, spec = spec, files.pin(spec)
    settings = checks.read_settings(spec)
    placement.check_packages(spec, settings)
    with _one_at_a_time, quiet_transformers():
        tokenizer = _load_tokenizer(spec)
        vocabulary = pieces_of(tokenizer)
        family = find_family(settings["model_type"], vocabulary, task=spec.task, model=spec.model)
        config = _load_config(spec)
    tokens = language_tokens(family, vocabulary)
    return LoadedCheckpoint(**_described(asked, spec, tokenizer, config, family, tokens))


def _described(
    asked: LoadSpec,
    spec: LoadSpec,
    tokenizer: PreTrainedTokenizerBase,
    config: PreTrainedConfig,
    family: Family,
    tokens: tuple[str, ...],
) -> dict[str, Any]:
    """The fields of a `LoadedCheckpoint`."""
    return {
        "spec": asked,
        "tokenizer": tokenizer,
        "config": config,
        "family": family,
        "languages": languages_of(spec, family, tokens),
        "language_tokens": tokens,
        "revision": _version() if spec.is_starter else spec.revision,
        "window": window_of(config, tokenizer, family),
        "fixed_source": fixed_language(tokenizer, "source_lang"),
        # A checkpoint with tokens for its targets has several, whatever its tokenizer says.
        "fixed_target": None if tokens else fixed_language(tokenizer, "target_lang"),
    }


def _load_tokenizer(spec: LoadSpec) -> PreTrainedTokenizerBase:
    from transformers import AutoTokenizer

    with _load_errors(spec, "tokenizer"):
        tokenizer: PreTrainedTokenizerBase = AutoTokenizer.from_pretrained(
            _place(spec), **_hub_arguments(spec)
        )
    return tokenizer


def _load_config(spec: LoadSpec) -> PreTrainedConfig:
    from transformers import AutoConfig

    with _load_errors(spec, "configuration"):
        config: PreTrainedConfig = AutoConfig.from_pretrained(_place(spec), **_hub_arguments(spec))
    return config


def prepare_weights(spec: LoadSpec, family: Family) -> tuple[Any, PreTrainedConfig, dict[str, Any]]:
    """Decide how the weights of a checkpoint will be loaded, without reading them.

    Args:
        spec: What to load and how.
        family: The row of the family table.

    Returns:
        The auto class, the configuration, and the arguments that place the model.

    Raises:
        ModelLoadError: The configuration is damaged.
        ConfigurationError: This machine cannot place it as asked.
    """
    model_class = auto_class(spec.task)
    config = _load_config(spec)
    _keep_one_adapter(spec, config)
    arguments = placement.from_pretrained_arguments(spec, config, family, model_class)
    if spec.task == "encoder" and family.has_pooler:
        # Nothing here reads the pooler, and many checkpoints come without its weights.
        arguments["add_pooling_layer"] = False
    return model_class, config, arguments


def computes_in_float32(spec: LoadSpec, family: Family) -> bool:
    """Tell whether torch would compute in 32 bits throughout.

    Args:
        spec: What to load and how.
        family: The row of the family table.

    Returns:
        Whether nothing is quantized and the dtype is float32.

    Raises:
        ModelLoadError: The configuration is damaged.
        ConfigurationError: This machine cannot place it as asked.
    """
    import torch

    _, _, arguments = prepare_weights(files.pin(spec), family)
    return "quantization_config" not in arguments and arguments["dtype"] is torch.float32


def _load_weights(
    spec: LoadSpec, family: Family
) -> tuple[PreTrainedModel, dict[str, Collection[Any]]]:
    """Load the model for the task, with the report of what its files lack."""
    model_class, config, arguments = prepare_weights(spec, family)
    if spec.places:
        import torch

        pooler = {name: arguments[name] for name in ("add_pooling_layer",) if name in arguments}
        with torch.device("meta"):
            empty = model_class.from_config(config, **pooler)
        arguments["device_map"] = device_maps.complete_places(spec, empty, spec.places)
    with _load_errors(spec, "weights"), freed_at_once(), warnings.catch_warnings():
        # Weights that belong to no module are placed by name, which accelerate remarks on.
        warnings.filterwarnings("ignore", "The following device_map keys do not match")
        model, report = model_class.from_pretrained(
            _place(spec),
            config=config,
            use_safetensors=True,
            output_loading_info=True,
            # Both are then in the report, which tells more than the exception would.
            ignore_mismatched_sizes=True,
            **arguments,
            **_hub_arguments(spec),
        )
    model.eval()
    model.requires_grad_(False)
    return model, report


def _place(spec: LoadSpec) -> str:
    return str(spec.folder or spec.model)


def _hub_arguments(spec: LoadSpec) -> dict[str, Any]:
    """What config, tokenizer and model alike need to find their files, all of one commit."""
    arguments: dict[str, Any] = {"trust_remote_code": spec.trust_remote_code}
    if spec.folder is not None:
        return arguments | {"local_files_only": True}
    return arguments | {
        "revision": spec.revision,
        "token": spec.token_value,
        "cache_dir": spec.cache_dir,
        "local_files_only": spec.local_files_only,
    }


@contextmanager
def _load_errors(spec: LoadSpec, part: str) -> Iterator[None]:
    """Turn whatever transformers and its readers raise into one error with its cause."""
    try:
        yield
    except XLMError:
        raise
    except Exception as error:
        # The readers of tokenizers and safetensors raise plain Exceptions for damaged files.
        reason = next(iter(str(error).strip().splitlines()), "no reason given").rstrip(".:")
        advice = (
            "Install what it names."
            if isinstance(error, ImportError)
            else "If its files are damaged, download or save the checkpoint anew."
        )
        raise ModelLoadError(
            spec.model,
            f"its {part} could not be read ({type(error).__name__}: {reason}). {advice}",
        ) from error


def _keep_one_adapter(spec: LoadSpec, config: PreTrainedConfig) -> None:
    """Let X-MOD run without being told a language, with the adapters of one for all texts.

    The engines give texts of all languages alike. Where a checkpoint names no default, English
    is taken, from which Pfeiffer et al. 2022, https://arxiv.org/abs/2205.06266, transfer. The
    other adapters, two thirds of the weights of X-MOD base, would never run and are not loaded;
    loaded in 4 bits on a CPU they would even end the process, being given batches of no rows.
    """
    if config.model_type != "xmod":
        return
    languages = list(config.languages)
    if config.default_language is None:
        config.default_language = "en_XX" if "en_XX" in languages else languages[0]
        _log.warning(
            "%s is an X-MOD model: the adapters of %s serve texts of all languages. Set"
            " default_language in its config.json to choose others (%s).",
            spec.model,
            config.default_language,
            ", ".join(languages),
        )
    config.languages = [config.default_language]


def _version() -> str:
    try:
        return version("langchain-xlm")
    except PackageNotFoundError:  # a source tree that was not installed
        return "unknown"


def _note_starter(spec: LoadSpec) -> None:
    """Say once in a process where the starter ends."""
    if spec.is_starter and not _noted:
        _noted.append(True)
        _log.warning(
            "The bundled starter models are small: good for trying things out in English, German,"
            " French, Spanish, Dutch, Japanese, Turkish and Chinese. For real work give model=..."
            " such as 'intfloat/multilingual-e5-base' (embeddings),"
            " 'facebook/nllb-200-distilled-600M' (translation) or"
            " 'cardiffnlp/twitter-xlm-roberta-base-sentiment' (sentiment)."
        )


_noted: list[bool] = []
