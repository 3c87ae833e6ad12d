"""Checkpoints that CTranslate2 runs: which they are, when that is better, and opening them."""

from __future__ import annotations

import importlib.util
import logging
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, TypeVar

from langchain_xlm.errors import ConfigurationError, MissingDependencyError, ModelLoadError
from langchain_xlm.models import backends, checks, device_maps, files
from langchain_xlm.models.backends import CTRANSLATE2
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.converting import Copy, find_copy, original
from langchain_xlm.models.families import Family, families_of
from langchain_xlm.models.loading import LoadedCheckpoint, computes_in_float32, load_checkpoint

if TYPE_CHECKING:
    import ctranslate2
    from transformers import GenerationConfig

__all__ = [
    "CONVERTIBLE",
    "ConvertedEncoder",
    "ConvertedModel",
    "family_here",
    "is_better_converted",
    "load_converted",
    "load_converted_encoder",
    "open_better",
]

CONVERTIBLE: Mapping[Task, frozenset[str]] = {
    "seq2seq": frozenset({"m2m_100", "mbart", "marian", "mt5"}),
    "encoder": frozenset({"xlm-roberta", "bert"}),
}
"""The model types of the family table that CTranslate2 has a converter for."""

_log = logging.getLogger("langchain_xlm")

Opened = TypeVar("Opened")


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvertedModel(LoadedCheckpoint):
    """A checkpoint that runs on CTranslate2.

    Attributes:
        translator: The model in memory; its vocabulary is made of `conversion.spell`.
        generation_config: The checkpoint's settings of generation.
        weights: "float32" or "int8".
        difference: How far it was from the original when it was made; see `conversion.BOUNDS`.
        memory_bytes: What its weights hold, in bytes.
    """

    translator: ctranslate2.Translator = field(repr=False)
    generation_config: GenerationConfig = field(repr=False)
    weights: str
    difference: float
    memory_bytes: int


@dataclass(frozen=True, eq=False, kw_only=True)
class ConvertedEncoder(LoadedCheckpoint):
    """An encoder that runs on CTranslate2.

    Attributes:
        encoder: The model in memory; it takes the ids of the checkpoint's tokenizer.
        weights: "float32" or "int8".
        difference: How far it was from the original when it was made; see
            `encoder_conversion.BOUNDS`.
        memory_bytes: What its weights hold, in bytes.
    """

    encoder: ctranslate2.Encoder = field(repr=False)
    weights: str
    difference: float
    memory_bytes: int


def family_here(spec: LoadSpec) -> Family | None:
    """Find the family of a checkpoint, if CTranslate2 can run it here.

    Args:
        spec: What to load, with any backend.

    Returns:
        A row of the family table with its model type; None where CTranslate2 is not installed
        or has no converter for the model.

    Raises:
        ConfigurationError: It was asked for by name and cannot convert the model.
        MissingDependencyError: It was asked for by name and is not installed.
        XLMError: What `load_model` raises for files that cannot be read.
    """
    named = spec.backend == CTRANSLATE2
    if importlib.util.find_spec("ctranslate2") is None:
        if named:
            raise MissingDependencyError(
                "ctranslate2", needed_for="backend='ctranslate2'", extra="ctranslate2"
            )
        return None
    settings = checks.read_settings(files.pin(spec))
    kind = settings.get("model_type")
    reason = None
    convertible = CONVERTIBLE[spec.task]
    if kind not in convertible:
        reason = f"a model of type {kind!r}: it takes {', '.join(sorted(convertible))}"
    elif settings.get("quantization_config"):
        reason = "which is saved quantized: it makes its copy from the full weights"
    if reason is None:
        return families_of(kind, task=spec.task, model=spec.model)[0]
    if named:
        raise ConfigurationError(
            f"backend='ctranslate2' cannot run {spec.model!r}, {reason}. Give backend='torch'."
        )
    return None


def is_better_converted(spec: LoadSpec) -> bool:
    """Tell whether CTranslate2 can do what is asked here, and does it faster than torch.

    Args:
        spec: What to load, with any backend.

    Returns:
        Whether `backend="auto"` means it.

    Raises:
        XLMError: What `load_model` raises for files that cannot be read.
    """
    if spec.task not in CONVERTIBLE or next(backends.obstacles(spec), None) is not None:
        return False
    if not device_maps.is_for_cpu(spec):
        return False
    family = family_here(spec)
    if family is None or spec.quantization == "8bit":
        return family is not None
    # It writes faster than torch in 32 bits as well, but not than torch in bfloat16.
    return spec.task == "seq2seq" and computes_in_float32(spec, family)


def open_better(
    spec: LoadSpec,
    *,
    converted: Callable[[LoadSpec], Opened],
    plain: Callable[[LoadSpec], Opened],
) -> Opened:
    """Open a checkpoint with the library that the spec names, or with the one that is better here.

    Args:
        spec: What to load and how.
        converted: Opens it with CTranslate2.
        plain: Opens it with torch.

    Returns:
        What one of the two returned: torch's, where CTranslate2 was not named and cannot run it.

    Raises:
        ConfigurationError: CTranslate2 was asked for by name and cannot run the checkpoint.
        ModelLoadError: It was asked for by name and cannot convert it (or the reasons of
            `load_model`).
    """
    if spec.backend == CTRANSLATE2:
        family_here(spec)
        return converted(spec)
    if spec.backend == "auto" and is_better_converted(spec):
        try:
            return converted(spec)
        except (ConfigurationError, ModelLoadError) as error:
            _log.warning("%s runs on torch instead: %s", spec.model, error)
    return plain(spec)


def load_converted(spec: LoadSpec, *, lanes: int = 1) -> ConvertedModel:
    """Open a checkpoint with CTranslate2, converting it where that has not been done before.

    Args:
        spec: What to load; `backends.obstacles` must have none.
        lanes: How many batches it is to run at the same time, on all of torch's threads each.

    Returns:
        The model with its tokenizer.

    Raises:
        ModelLoadError: It cannot be converted, or the copy differs from the original.
        InsufficientMemoryError: Converting it would take more memory than is free.
        XLMError: What `load_model` and `load_checkpoint` raise.
    """
    import ctranslate2
    import torch
    from transformers import GenerationConfig

    copy = find_copy(spec)
    return ConvertedModel(
        **_fields(spec, copy),
        translator=ctranslate2.Translator(
            str(copy.folder),
            device="cpu",
            inter_threads=lanes,
            intra_threads=torch.get_num_threads(),
        ),
        generation_config=GenerationConfig.from_pretrained(copy.folder),
    )


def load_converted_encoder(spec: LoadSpec, *, lanes: int = 1) -> ConvertedEncoder:
    """Open an encoder with CTranslate2, converting it where that has not been done before.

    Args:
        spec: What to load; `backends.obstacles` must have none.
        lanes: How many batches it is to run at the same time, on its share of torch's threads each.

    Returns:
        The encoder with its tokenizer.

    Raises:
        ModelLoadError: It cannot be converted, or the copy differs from the original.
        InsufficientMemoryError: Converting it would take more memory than is free.
        XLMError: What `load_model` and `load_checkpoint` raise.
    """
    import ctranslate2
    import torch

    copy = find_copy(spec)
    return ConvertedEncoder(
        **_fields(spec, copy),
        encoder=ctranslate2.Encoder(
            str(copy.folder),
            device="cpu",
            inter_threads=lanes,
            intra_threads=max(1, torch.get_num_threads() // lanes),
        ),
    )


def _fields(spec: LoadSpec, copy: Copy) -> dict[str, Any]:
    """Give all fields of what is loaded but the model."""
    checkpoint = load_checkpoint(original(spec))
    return {name: getattr(checkpoint, name) for name in LoadedCheckpoint.__dataclass_fields__} | {
        "spec": spec,
        "weights": copy.weights,
        "difference": copy.difference,
        "memory_bytes": (copy.folder / "model.bin").stat().st_size,
    }
