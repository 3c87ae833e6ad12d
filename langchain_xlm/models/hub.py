"""The hub as the place of a checkpoint's files: what is fetched, and what its failures mean."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from langchain_xlm.errors import ModelLoadError, ModelNotFoundError
from langchain_xlm.models.config import LoadSpec

__all__ = ["fetch_file", "has_file", "hub_errors", "is_offline", "refuse_offline", "snapshot"]


def fetch_file(spec: LoadSpec, name: str) -> Path | None:
    """Find one file of a checkpoint on the hub, downloading it if it is not here.

    Args:
        spec: A checkpoint of the hub.
        name: Path inside the checkpoint.

    Returns:
        The file on this machine, or None where the checkpoint has no such file.

    Raises:
        ModelNotFoundError: What `hub_errors` raises.
        ModelLoadError: Likewise.
    """
    with hub_errors(spec):
        return _download(spec, name)


def has_file(spec: LoadSpec, name: str) -> bool:
    """Tell whether a checkpoint has a file, without downloading it.

    Args:
        spec: A checkpoint of the hub.
        name: Path inside the checkpoint.

    Returns:
        Whether it is here, or on the hub if that may be asked.

    Raises:
        ModelNotFoundError: What `hub_errors` raises.
        ModelLoadError: Likewise.
    """
    here = snapshot(spec)
    if here is not None and (here / name).is_file():
        return True
    if is_offline(spec):
        return False
    from huggingface_hub import file_exists

    with hub_errors(spec):
        return file_exists(spec.model, name, revision=spec.revision, token=spec.token_value)


def snapshot(spec: LoadSpec) -> Path | None:
    """Find the folder of a checkpoint in the cache of the hub.

    Args:
        spec: A checkpoint of the hub.

    Returns:
        The folder, or None if its config.json is not there.
    """
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(
        spec.model, "config.json", cache_dir=spec.cache_dir, revision=spec.revision
    )
    return Path(found).parent if isinstance(found, str) else None


def is_offline(spec: LoadSpec) -> bool:
    """Tell whether the hub must not be asked for a checkpoint.

    Args:
        spec: A checkpoint of the hub.

    Returns:
        Whether the spec or the environment forbids it.
    """
    from huggingface_hub import is_offline_mode

    return spec.local_files_only or is_offline_mode()


def refuse_offline(spec: LoadSpec) -> None:
    """Refuse to ask the hub where that is forbidden.

    Args:
        spec: The checkpoint.

    Raises:
        ModelNotFoundError: With how to allow it.
    """
    if is_offline(spec):
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
    if is_offline(spec):
        return (
            f"{what} not in the cache and HF_HUB_OFFLINE forbids a download. Unset that variable"
            f" once, or fetch it where there is a network: hf download {spec.model}"
        )
    return (
        f"{what} not in the cache and the hub cannot be reached. Check the network, or give a"
        " local folder or model='starter'."
    )


def _download(spec: LoadSpec, name: str) -> Path | None:
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

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
        if snapshot(spec) is not None:
            return None
        raise
    except EntryNotFoundError:
        return None
