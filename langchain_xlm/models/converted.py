"""Converted checkpoints: found in the cache or made once, and opened with CTranslate2."""

from __future__ import annotations

import hashlib
import importlib.util
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import (
    ConfigurationError,
    InsufficientMemoryError,
    MissingDependencyError,
    ModelLoadError,
    XLMError,
)
from langchain_xlm.models import (
    backends,
    checks,
    conversion,
    device_maps,
    encoder_conversion,
    files,
)
from langchain_xlm.models.backends import CTRANSLATE2, TORCH
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.families import Family, families_of
from langchain_xlm.models.fitting import fit
from langchain_xlm.models.footprint import expected_bytes
from langchain_xlm.models.generation_defaults import complete_defaults
from langchain_xlm.models.loading import (
    LoadedCheckpoint,
    LoadedModel,
    computes_in_float32,
    load_checkpoint,
    load_model,
)
from langchain_xlm.models.machine import find_devices
from langchain_xlm.models.processor import integer_product

if TYPE_CHECKING:
    import ctranslate2
    from transformers import GenerationConfig

__all__ = [
    "CONVERTIBLE",
    "ConvertedEncoder",
    "ConvertedModel",
    "converting_bytes",
    "family_here",
    "is_better_converted",
    "load_converted",
    "load_converted_encoder",
]

CONVERTIBLE: Mapping[Task, frozenset[str]] = {
    "seq2seq": frozenset({"m2m_100", "mbart", "marian", "mt5"}),
    "encoder": frozenset({"xlm-roberta", "bert"}),
}
"""The model types of the family table that CTranslate2 has a converter for."""

_log = logging.getLogger("langchain_xlm")
# Raised when what is written into a converted folder changes.
_LAYOUT = 2
# What converting takes at its highest point, in weights of the original in 32 bits: these, and the
# copy while it is written. Measured on M2M100 and mBART shapes, the pages of files included.
_CONVERTING = {"float32": 2.2, "int8": 1.7}


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


def converting_bytes(spec: LoadSpec) -> int:
    """Tell what making the copy of a checkpoint takes at its highest point.

    Args:
        spec: What to load.

    Returns:
        Bytes, the pages of the original's files included.

    Raises:
        XLMError: What `expected_bytes` raises.
    """
    return int(_CONVERTING[_weights(spec)] * expected_bytes(_original(spec)))


def load_converted(spec: LoadSpec) -> ConvertedModel:
    """Open a checkpoint with CTranslate2, converting it where that has not been done before.

    Args:
        spec: What to load; `backends.obstacles` must have none.

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

    copy = _find_copy(spec)
    return ConvertedModel(
        **copy.fields,
        translator=ctranslate2.Translator(
            str(copy.folder), device="cpu", intra_threads=torch.get_num_threads()
        ),
        generation_config=GenerationConfig.from_pretrained(copy.folder),
    )


def load_converted_encoder(spec: LoadSpec) -> ConvertedEncoder:
    """Open an encoder with CTranslate2, converting it where that has not been done before.

    Args:
        spec: What to load; `backends.obstacles` must have none.

    Returns:
        The encoder with its tokenizer.

    Raises:
        ModelLoadError: It cannot be converted, or the copy differs from the original.
        InsufficientMemoryError: Converting it would take more memory than is free.
        XLMError: What `load_model` and `load_checkpoint` raise.
    """
    import ctranslate2
    import torch

    copy = _find_copy(spec)
    return ConvertedEncoder(
        **copy.fields,
        encoder=ctranslate2.Encoder(
            str(copy.folder), device="cpu", intra_threads=torch.get_num_threads()
        ),
    )


@dataclass(frozen=True, slots=True)
class _Copy:
    """A converted checkpoint on the disk, with all fields of what is loaded but the model."""

    folder: Path
    fields: dict[str, Any]


def _find_copy(spec: LoadSpec) -> _Copy:
    """Find the copy of a checkpoint, making it first where it is not there."""
    weights, plain = _weights(spec), _original(spec)
    folder = _folder(plain, weights)
    try:
        found = _find_or_convert(spec, folder)
    except XLMError:
        raise
    except OSError as error:
        raise ModelLoadError(
            spec.model,
            f"its copy for CTranslate2 could not be written to {folder} ({error}). Make room"
            " there, set HF_ASSETS_CACHE or cache_dir to another place, or give backend='torch'.",
        ) from error
    checkpoint = load_checkpoint(plain)
    return _Copy(
        folder,
        {name: getattr(checkpoint, name) for name in LoadedCheckpoint.__dataclass_fields__}
        | {
            "spec": spec,
            "weights": weights,
            "difference": float(found["difference"]),
            "memory_bytes": (folder / "model.bin").stat().st_size,
        },
    )


def _folder(spec: LoadSpec, weights: str) -> Path:
    """Where the copy of a checkpoint belongs: a name for every state of it and of the converter."""
    import ctranslate2
    import transformers
    from huggingface_hub import cached_assets_path

    root = cached_assets_path(
        "langchain-xlm", namespace=CTRANSLATE2, subfolder="models", assets_dir=spec.cache_dir
    )
    state = [
        files.checkpoint_fingerprint(spec),
        spec.task,
        weights,
        str(integer_product()),  # by which weights are rounded
        ctranslate2.__version__,
        transformers.__version__,
        str(_LAYOUT),
    ]
    digest = hashlib.sha256("\n".join(state).encode()).hexdigest()[:16]
    name = re.sub(r"[^\w.-]+", "--", spec.model if spec.folder is None else spec.folder.name)
    return Path(root) / f"{name}-{weights}-{digest}"


def _weights(spec: LoadSpec) -> str:
    return "int8" if spec.quantization == "8bit" else "float32"


def _original(spec: LoadSpec) -> LoadSpec:
    """What the copy is made from."""
    return replace(spec, backend=TORCH, device="cpu", dtype="float32", quantization=None)


def _find_or_convert(spec: LoadSpec, folder: Path) -> dict[str, Any]:
    """Return what was noted when the copy was made, making it first where it is not there."""
    from filelock import FileLock

    note = folder / "verified.json"
    if not note.is_file():
        # A second process waits here and then finds the copy; the lock ends with its process.
        with FileLock(folder.parent / f"{folder.name}.lock"):
            if not note.is_file():
                _check_room(spec)
                _convert(_original(spec), folder, _weights(spec))
    noted: dict[str, Any] = json.loads(note.read_text(encoding="utf-8"))
    return noted


def _check_room(spec: LoadSpec) -> None:
    """Refuse a conversion that would not fit, before a weight is read."""
    needed = converting_bytes(spec)
    found = fit(needed, find_devices()[-1])
    if not found.fits:
        raise InsufficientMemoryError(
            spec.model,
            needed_bytes=needed,
            free_bytes=found.free_bytes,
            device="cpu",
            advice="That is for making its copy for CTranslate2, once. Unload other models, or give"
            " backend='torch'.",
        )


def _convert(spec: LoadSpec, folder: Path, weights: str) -> None:
    """Write a copy beside its place, compare it with the original, and put it there as a whole."""
    _log.info("Converting %s for CTranslate2, once, into %s", spec.model, folder)
    loaded = load_model(spec)
    unfinished = Path(tempfile.mkdtemp(prefix=".unfinished-", dir=folder.parent))
    copy = unfinished / "model"
    try:
        make = _encoder_copy if spec.task == "encoder" else _writer_copy
        compare, bound = make(loaded, copy, weights)
        del loaded  # before the copy is opened, so that memory holds one of them
        far = compare()
        if not far <= bound:  # nan is no agreement either
            what = (
                "states of tokens" if spec.task == "encoder" else "log-probabilities of its output"
            )
            raise ModelLoadError(
                spec.model,
                f"its copy for CTranslate2 differs from the original: the {what} by {far:.3g} on"
                f" average, where {bound:.3g} is allowed for {weights}. Give backend='torch'.",
            )
        (copy / "verified.json").write_text(
            json.dumps({"difference": far, "bound": bound, "model": spec.model}), encoding="utf-8"
        )
        os.replace(copy, folder)
    finally:
        shutil.rmtree(unfinished, ignore_errors=True)


def _writer_copy(
    loaded: LoadedModel, copy: Path, weights: str
) -> tuple[Callable[[], float], float]:
    """Write the copy of a model that writes; return what compares it, and how far it may be."""
    import ctranslate2

    config = files.find_file(files.pin(loaded.spec), "config.json")
    assert config is not None, "a model was loaded with it"
    given = conversion.references(loaded)
    pad = complete_defaults(loaded.generation_config, loaded.config, loaded.tokenizer).pad_token_id
    conversion.write_copy(loaded, config.parent, copy, weights=weights)

    def compare() -> float:
        translator = ctranslate2.Translator(str(copy), device="cpu")
        return conversion.difference(translator, given, copy, pad)

    return compare, conversion.BOUNDS[weights]


def _encoder_copy(
    loaded: LoadedModel, copy: Path, weights: str
) -> tuple[Callable[[], float], float]:
    """Write the copy of an encoder; return what compares it, and how far it may be."""
    import ctranslate2

    given = encoder_conversion.references(loaded)
    encoder_conversion.write_copy(loaded, copy, weights=weights)

    def compare() -> float:
        return encoder_conversion.difference(ctranslate2.Encoder(str(copy), device="cpu"), given)

    return compare, encoder_conversion.BOUNDS[weights]
