"""The files of a checkpoint, wherever they are: the bundled folder, a local folder or the hub."""

from __future__ import annotations

import functools
import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

from langchain_xlm.errors import ModelLoadError, ModelNotFoundError
from langchain_xlm.models import pull_requests
from langchain_xlm.models.config import LoadSpec

__all__ = [
    "checkpoint_fingerprint",
    "commit_of",
    "find_file",
    "find_here",
    "find_weights",
    "hub_errors",
    "missing_weights",
    "pin",
    "read_json",
    "read_json_value",
    "refuse_offline",
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
        return _find_on_hub(spec, name)
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
    folder = spec.folder or _snapshot(spec)
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
        if _offline(spec)
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


def _find_on_hub(spec: LoadSpec, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    with hub_errors(spec):
        try:
            return Path(
                hf_hub_download(
                    spec.model,
                    name,
                    revision=spec.revision,
                    cache_dir=spec.cache_dir,
                    token=spec.token_value,
                    local_files_only=spec.local_files_only,
                )
            )
        except LocalEntryNotFoundError:
            # Offline, the hub cannot say whether the file exists: the snapshot tells.
            if _snapshot(spec) is not None:
                return None
            raise
        except EntryNotFoundError:
            return None


def _exists(spec: LoadSpec, name: str) -> bool:
    """Whether the checkpoint has a file, without downloading it."""
    if spec.folder is not None:
        return (spec.folder / name).is_file()
    snapshot = _snapshot(spec)
    if snapshot is not None and (snapshot / name).is_file():
        return True
    if _offline(spec):
        return False
    from huggingface_hub import file_exists

    with hub_errors(spec):
        return file_exists(spec.model, name, revision=spec.revision, token=spec.token_value)


def _snapshot(spec: LoadSpec) -> Path | None:
    """The folder of a hub checkpoint in the cache, if its config.json is there."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        spec.model, "config.json", cache_dir=spec.cache_dir, revision=spec.revision
    )
    return Path(found).parent if isinstance(found, str) else None


def _offline(spec: LoadSpec) -> bool:
    from huggingface_hub import is_offline_mode

    return spec.local_files_only or is_offline_mode()


def refuse_offline(spec: LoadSpec) -> None:
    """Refuse to ask the hub where that is forbidden.

    Args:
        spec: The checkpoint.

    Raises:
        ModelNotFoundError: With how to allow it.
    """
    if _offline(spec):
        raise ModelNotFoundError(spec.model, _not_here(spec))


@contextmanager
def hub_errors(spec: LoadSpec) -> Iterator[None]:
    """Turn what huggingface_hub raises inside a `with` block into our own, with the next step.

    Args:
        spec: The checkpoint that the hub is asked for.

    Yields:
        Nothing.

    Raises:
        ModelNotFoundError: There is no such checkpoint or revision, or none may be fetched.
        ModelLoadError: The hub did not answer.
    """
    from huggingface_hub import errors

    # Of httpx or httpx2, whichever this version of huggingface_hub stands on.
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]

    try:
        yield
    except errors.GatedRepoError as error:
        raise ModelNotFoundError(
            spec.model,
            "its owners ask you to accept their terms first. Do so on its page at"
            " https://huggingface.co, then give token=... of that account.",
        ) from error
    except errors.RevisionNotFoundError as error:
        raise ModelNotFoundError(
            spec.model, f"it has no revision {spec.revision!r}. Leave it out for the main branch."
        ) from error
    except errors.RepositoryNotFoundError as error:
        raise ModelNotFoundError(
            spec.model,
            "the hub has no such model, or it is private. Check the name, or give token=...",
        ) from error
    except errors.LocalEntryNotFoundError as error:
        raise ModelNotFoundError(spec.model, _not_here(spec)) from error
    except (http_error, errors.HFValidationError, OSError) as error:
        raise ModelLoadError(
            spec.model, f"the hub did not give its files ({type(error).__name__}: {error})."
        ) from error


def _not_here(spec: LoadSpec) -> str:
    what = "it is" if spec.revision is None else f"its revision {spec.revision!r} is"
    if spec.local_files_only:
        return f"{what} not in the cache and local_files_only=True forbids a download."
    if _offline(spec):
        return (
            f"{what} not in the cache and HF_HUB_OFFLINE forbids a download. Unset that variable"
            f" once, or fetch it where there is a network: hf download {spec.model}"
        )
    return (
        f"{what} not in the cache and the hub cannot be reached. Check the network, or give a"
        " local folder or model='starter'."
    )
