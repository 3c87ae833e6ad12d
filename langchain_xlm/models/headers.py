"""What the weights of a checkpoint are, read from the headers of its files alone."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from langchain_xlm.errors import ModelLoadError
from langchain_xlm.models import files, hub
from langchain_xlm.models.config import LoadSpec

__all__ = ["SAVED_AS", "SavedTensor", "SavedWeights", "read_headers"]

SAVED_AS = {"torch.float32": "F32", "torch.bfloat16": "BF16", "torch.float16": "F16"}
"""How safetensors names the dtypes that weights are loaded in."""
# Bytes for each number, by the names that safetensors gives to dtypes.
_ITEM_BYTES = {"F64": 8, "I64": 8, "U64": 8, "F32": 4, "I32": 4, "U32": 4} | {
    "F16": 2, "BF16": 2, "I16": 2, "U16": 2, "I8": 1, "U8": 1, "BOOL": 1, "F8_E4M3": 1, "F8_E5M2": 1
}  # fmt: skip
_INDEX = "model.safetensors.index.json"
_WHOLE = "model.safetensors"


@dataclass(frozen=True, slots=True)
class SavedTensor:
    """A tensor as a file holds it.

    Attributes:
        dtype: The name that safetensors gives it, such as `"F32"`.
        shape: Its shape.
    """

    dtype: str
    shape: tuple[int, ...]

    @property
    def nbytes(self) -> int:
        """Bytes of its numbers."""
        return math.prod(self.shape) * _ITEM_BYTES.get(self.dtype, 1)


@dataclass(frozen=True, slots=True)
class SavedWeights:
    """The weights of a checkpoint as its files hold them.

    Attributes:
        tensors: Every tensor by its name.
    """

    tensors: Mapping[str, SavedTensor]

    @property
    def nbytes(self) -> int:
        """Bytes of all tensors: what is downloaded, or mapped while the model loads."""
        return sum(tensor.nbytes for tensor in self.tensors.values())

    @property
    def dtype(self) -> str:
        """The dtype of most of the bytes, such as `"F32"`; empty without tensors."""
        amounts: dict[str, int] = {}
        for tensor in self.tensors.values():
            amounts[tensor.dtype] = amounts.get(tensor.dtype, 0) + tensor.nbytes
        return max(amounts, key=lambda dtype: amounts[dtype], default="")


def read_headers(spec: LoadSpec) -> SavedWeights:
    """Read the headers of the weights; of a checkpoint on the hub only they are fetched.

    Args:
        spec: The checkpoint, pinned (see `files.pin`) so that all headers are of one commit.

    Returns:
        Names, dtypes and shapes of all tensors.

    Raises:
        ModelNotFoundError: There are no weights, or they are not on this machine and the hub
            may not be asked.
        ModelLoadError: They are not safetensors, or their headers are damaged.
    """
    paths = _paths(spec)
    return SavedWeights(dict(_local(spec, paths) if paths else _remote(spec)))


def _paths(spec: LoadSpec) -> list[Path]:
    """The files on this machine that hold the weights; empty where some are on the hub alone."""
    for name in (_WHOLE, _INDEX):
        path = files.find_here(spec, name)
        if path is None:
            continue
        names = [name] if name == _WHOLE else sorted(set(_parts(spec, path)))
        here = [files.find_here(spec, part) for part in names]
        missing = [part for part, place in zip(names, here, strict=True) if place is None]
        if missing and spec.folder is not None:
            raise ModelLoadError(
                spec.model, f"{_INDEX} names {missing[0]}, which is not in the folder."
            )
        return [] if missing else [place for place in here if place is not None]
    if spec.folder is not None:
        raise files.missing_weights(spec)
    return []


def _parts(spec: LoadSpec, index: Path) -> Iterable[str]:
    try:
        parts: dict[str, str] = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
    except (json.JSONDecodeError, UnicodeDecodeError, KeyError, TypeError) as error:
        raise ModelLoadError(
            spec.model, f"{_INDEX} is damaged ({error}). Download or save the checkpoint anew."
        ) from error
    return parts.values()


def _local(spec: LoadSpec, paths: Iterable[Path]) -> Iterator[tuple[str, SavedTensor]]:
    from safetensors import SafetensorError, safe_open

    for path in paths:
        try:
            with safe_open(path, framework="numpy") as file:
                for name in file.keys():  # noqa: SIM118  # not a mapping
                    header: Any = file.get_slice(name)
                    yield name, SavedTensor(header.get_dtype(), tuple(header.get_shape()))
        except (SafetensorError, OSError) as error:
            raise ModelLoadError(
                spec.model,
                f"{path.name} is damaged ({error}). Download or save the checkpoint anew.",
            ) from error


def _remote(spec: LoadSpec) -> Iterator[tuple[str, SavedTensor]]:
    from huggingface_hub import get_safetensors_metadata
    from huggingface_hub.errors import NotASafetensorsRepoError, SafetensorsParsingError

    hub.refuse_offline(spec)
    with hub.hub_errors(spec):
        try:
            found = get_safetensors_metadata(
                spec.model, revision=spec.revision, token=spec.token_value
            )
        except NotASafetensorsRepoError:
            found = None
        except SafetensorsParsingError as error:
            raise ModelLoadError(spec.model, f"its headers are damaged ({error}).") from error
    if found is None:
        raise files.missing_weights(spec)
    for part in found.files_metadata.values():
        for name, tensor in part.tensors.items():
            yield name, SavedTensor(tensor.dtype, tuple(tensor.shape))
