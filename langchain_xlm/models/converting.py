"""The copy of a checkpoint for CTranslate2: its place in the cache, and how it is made, once."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import re
import shutil
import tempfile
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

from langchain_xlm.errors import InsufficientMemoryError, ModelLoadError, XLMError
from langchain_xlm.models import conversion, encoder_conversion, files
from langchain_xlm.models.backends import CTRANSLATE2, TORCH
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.fitting import fit
from langchain_xlm.models.footprint import expected_bytes
from langchain_xlm.models.generation_defaults import complete_defaults
from langchain_xlm.models.loading import LoadedModel, load_model
from langchain_xlm.models.machine import find_devices
from langchain_xlm.models.processor import integer_product

__all__ = ["Copy", "converting_bytes", "find_copy", "original"]

_log = logging.getLogger("langchain_xlm")
# Raised when what is written into a converted folder changes.
_LAYOUT = 2
# What converting takes at its highest point, in weights of the original in 32 bits: these, and the
# copy while it is written. Measured on M2M100 and mBART shapes, the pages of files included.
_CONVERTING = {"float32": 2.2, "int8": 1.7}


@dataclass(frozen=True, slots=True)
class Copy:
    """A converted checkpoint on the disk.

    Attributes:
        folder: Where it is.
        weights: "float32" or "int8".
        difference: How far it was from the original when it was made; see `conversion.BOUNDS` and
            `encoder_conversion.BOUNDS`.
    """

    folder: Path
    weights: str
    difference: float


def find_copy(spec: LoadSpec) -> Copy:
    """Find the copy of a checkpoint, making it first where it is not there.

    Args:
        spec: What to load.

    Returns:
        The copy.

    Raises:
        ModelLoadError: It cannot be converted or written, or the copy differs from the original.
        InsufficientMemoryError: Converting it would take more memory than is free.
        XLMError: What `load_model` raises.
    """
    weights = _weights(spec)
    folder = _folder(original(spec), weights)
    try:
        difference = _find_or_convert(spec, folder)
    except XLMError:
        raise
    except OSError as error:
        raise ModelLoadError(
            spec.model,
            f"its copy for CTranslate2 could not be written to {folder} ({error}). Make room"
            " there, set HF_ASSETS_CACHE or cache_dir to another place, or give backend='torch'.",
        ) from error
    return Copy(folder, weights, difference)


def converting_bytes(spec: LoadSpec) -> int:
    """Tell what making the copy of a checkpoint takes at its highest point.

    Args:
        spec: What to load.

    Returns:
        Bytes, the pages of the original's files included.

    Raises:
        XLMError: What `expected_bytes` raises.
    """
    return int(_CONVERTING[_weights(spec)] * expected_bytes(original(spec)))


def _weights(spec: LoadSpec) -> str:
    return "int8" if spec.quantization == "8bit" else "float32"


def original(spec: LoadSpec) -> LoadSpec:
    """Return what a copy is made from: the same checkpoint in float32, on torch."""
    return replace(spec, backend=TORCH, device="cpu", dtype="float32", quantization=None)


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


def _find_or_convert(spec: LoadSpec, folder: Path) -> float:
    """Return the difference noted when the copy was made, making it first where it is not there."""
    from filelock import FileLock

    note = folder / "verified.json"
    if not note.is_file():
        # A second process waits here and then finds the copy; the lock ends with its process.
        with FileLock(folder.parent / f"{folder.name}.lock"):
            if not note.is_file():
                _check_room(spec)
                _convert(original(spec), folder, _weights(spec))
    return float(json.loads(note.read_text(encoding="utf-8"))["difference"])


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
