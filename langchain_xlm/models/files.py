"""The files of a checkpoint, wherever they are: the bundled folder, a local folder or the hub."""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_xlm.errors import ModelLoadError, ModelNotFoundError
from langchain_xlm.models import hub, pull_requests
from langchain_xlm.models.config import LoadSpec

__all__ = [
    "checkpoint_fingerprint",
    "commit_of",
    "find_file",
    "find_here",
    "find_weights",
    "missing_weights",
    "pin",
    "read_json",
    "read_json_value",
]

_WEIGHTS = ("model.safetensors", "model.safetensors.index.json")
_PICKLES = (
    "pytorch_model.bin",
    "pytorch_model.bin.index.json",
    "tf_model.h5",
    "flax_model.msgpack",
)
# Weights, settings and tokenizers; not the model card.
_MATTERS = (".safetensors", ".json", ".model", ".txt")
_CHUNK_BYTES = 2**20


def find_file(spec: LoadSpec, name: str) -> Path | None:
    """Find one file of a checkpoint, downloading it if it is on the hub and not here.

    Args:
        spec: The checkpoint.
        name: Path inside the checkpoint, such as `"1_Pooling/config.json"`.

    Returns:
        The file on this machine, or None where the checkpoint has no such file.

    Raises:
        ModelNotFoundError: There is no such checkpoint, revision or folder, or it is not on this
            machine and may not be downloaded.
        ModelLoadError: The hub did not answer.
    """
    folder = spec.folder
    if folder is None:
        return hub.fetch_file(spec, name)
    if not folder.is_dir():
        raise ModelNotFoundError(spec.model, _no_folder(spec, folder))
    path = folder / name
    return path if path.is_file() else None


def find_here(spec: LoadSpec, name: str) -> Path | None:
    """Find one file of a checkpoint if it is on this machine; nothing is asked of the hub.

    Args:
        spec: The checkpoint.
        name: Path inside the checkpoint.

    Returns:
        The file, or None.
    """
    folder = spec.folder or hub.snapshot(spec)
    return folder / name if folder is not None and (folder / name).is_file() else None


def read_json(spec: LoadSpec, name: str) -> dict[str, Any] | None:
    """Read a JSON object of a checkpoint.

    Args:
        spec: The checkpoint.
        name: Path inside the checkpoint.

    Returns:
        The object, or None where the checkpoint has no such file.

    Raises:
        ModelLoadError: The file does not hold a JSON object (or the reasons of `find_file`).
    """
    value = read_json_value(spec, name)
    if value is None or isinstance(value, dict):
        return value
    raise ModelLoadError(
        spec.model, f"{name} holds a JSON {type(value).__name__} where an object must be."
    )


def read_json_value(spec: LoadSpec, name: str) -> Any:
    """Read any JSON value of a checkpoint, such as the list in `modules.json`.

    Args:
        spec: The checkpoint.
        name: Path inside the checkpoint.

    Returns:
        The value, or None where the checkpoint has no such file.

    Raises:
        ModelLoadError: The file is not JSON (or the reasons of `find_file`).
    """
    path = find_file(spec, name)
    if path is None:
        return None
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except (json.JSONDecodeError, UnicodeDecodeError) as error:
        raise ModelLoadError(
            spec.model, f"{name} is not JSON ({error}). Download or save the checkpoint anew."
        ) from error


def find_weights(spec: LoadSpec) -> Path:
    """Find the safetensors weights, or their index where they are in several files.

    Args:
        spec: The checkpoint.

    Returns:
        The file on this machine; the parts that an index names may still be on the hub.

    Raises:
        ModelNotFoundError: There are no weights of any kind.
        ModelLoadError: There are none as safetensors; pickled weights are named and never read.
    """
    for name in _WEIGHTS:
        if (path := find_file(spec, name)) is not None:
            return path
    error = missing_weights(spec)
    raise error


def missing_weights(spec: LoadSpec) -> ModelLoadError:
    """Make the error for a checkpoint without safetensors.

    Args:
        spec: The checkpoint.

    Returns:
        A `ModelNotFoundError` where there are no weights of any kind; else one that names the
        format that is there and never read.
    """
    pickles = [name for name in _PICKLES if _exists(spec, name)]
    if not pickles:
        return ModelNotFoundError(
            spec.model, "it has no model.safetensors. Give a checkpoint with its weights."
        )
    return ModelLoadError(
        spec.model,
        f"its weights are only there as {pickles[0]}, a format that can run foreign code while it"
        f" is read, so only safetensors are loaded.{_request_advice(spec)} Or convert a checkpoint"
        " that you trust with transformers: AutoModel….from_pretrained(…).save_pretrained(folder),"
        " the tokenizer likewise, and give that folder.",
    )


def _request_advice(spec: LoadSpec) -> str:
    """Where the hub may have the same weights as safetensors; it is asked if it may be."""
    if spec.folder:
        return ""
    request = (
        None
        if hub.is_offline(spec)
        else pull_requests.find_request(spec.model, _WEIGHTS, spec.token_value)
    )
    if request is None:
        return (
            " Its pull requests on the hub often hold the same weights as safetensors: give"
            " revision='refs/pr/N' with the number of such a request."
        )
    return (
        f" The hub's converter offers them as safetensors in pull request {request.num}"
        f" ({request.status}), which is never loaded by itself, since nobody may have reviewed it:"
        f" look at {request.url} and, if you trust it, give revision={request.git_reference!r}."
    )


def commit_of(spec: LoadSpec) -> str | None:
    """Tell the commit of a hub checkpoint as it is on this machine.

    Args:
        spec: The checkpoint.

    Returns:
        The commit, 40 hexadecimal digits, or None for folders.

    Raises:
        ModelNotFoundError: There is no such checkpoint (see `find_file`).
    """
    if spec.folder is not None:
        return None
    config = find_file(spec, "config.json")
    if config is None:
        raise ModelNotFoundError(spec.model, "it has no config.json.")
    # .../models--owner--name/snapshots/<commit>/config.json
    return config.parent.name


def pin(spec: LoadSpec) -> LoadSpec:
    """Name the commit in place of a branch, so that all files come from the same state of it.

    Args:
        spec: The checkpoint.

    Returns:
        The same spec at its commit; nothing is asked of the hub again for what is here. Folders
        come back as they are.

    Raises:
        ModelNotFoundError: There is no such checkpoint (see `find_file`).
    """
    commit = commit_of(spec)
    return spec if commit is None else replace(spec, revision=commit)


def checkpoint_fingerprint(spec: LoadSpec) -> str:
    """Tell checkpoints with different weights, settings or tokenizers apart.

    Args:
        spec: The checkpoint.

    Returns:
        The hub's commit; for folders a hash of the contents of every file that can change a
        result, wherever the folder lies.

    Raises:
        ModelNotFoundError: There is no such checkpoint (see `find_file`).
    """
    if (commit := commit_of(spec)) is not None:
        return commit
    folder = spec.folder
    assert folder is not None
    if not folder.is_dir():
        raise ModelNotFoundError(spec.model, _no_folder(spec, folder))
    whole = hashlib.sha256()
    for path in sorted(path for path in folder.rglob("*") if path.suffix in _MATTERS):
        state = path.stat()
        whole.update(path.relative_to(folder).as_posix().encode())
        whole.update(_content_hash(str(path), state.st_mtime_ns, state.st_size))
    return whole.hexdigest()[:40]


@functools.lru_cache(maxsize=256)
def _content_hash(path: str, modified_ns: int, size: int) -> bytes:
    """Hash a file; the time and size are there so that a changed file is hashed anew."""
    digest = hashlib.sha256()
    with open(path, "rb") as file:
        while block := file.read(_CHUNK_BYTES):
            digest.update(block)
    return digest.digest()


def _no_folder(spec: LoadSpec, folder: Path) -> str:
    if spec.is_starter:
        return "this installation came without the bundled checkpoints; install it anew."
    return f"there is no folder {folder}. Give a folder with a config.json, or a hub id."


def _exists(spec: LoadSpec, name: str) -> bool:
    """Whether the checkpoint has a file, without downloading it."""
    if spec.folder is not None:
        return (spec.folder / name).is_file()
    return hub.has_file(spec, name)
