"""A model that writes text, opened with the library that runs it best here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from langchain_xlm.engines.decoding import Plan, Written
from langchain_xlm.errors import ConfigurationError
from langchain_xlm.models.backends import CTRANSLATE2, TORCH, Backend
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.converted import load_converted, open_better
from langchain_xlm.models.generation_defaults import complete_defaults
from langchain_xlm.models.loading import LoadedCheckpoint, load_model

if TYPE_CHECKING:
    from transformers import GenerationConfig

__all__ = ["OpenedModel", "Writer", "open_model"]


class Writer(Protocol):
    """A loaded model, from tokens to tokens.

    Attributes:
        memory_bytes: What its weights hold, in bytes.
    """

    memory_bytes: int

    def write(
        self, rows: Sequence[Sequence[int]], plan: Plan, *, wordings: int = 1
    ) -> list[list[Written]]:
        """Generate for each row of a batch, from the first written token on, the best first."""

    def score(self, rows: Sequence[Sequence[int]], written: Sequence[Sequence[int]]) -> list[float]:
        """Tell how likely the model would have written something for each row."""


@dataclass(frozen=True, slots=True)
class OpenedModel:
    """A checkpoint with what runs it.

    Attributes:
        loaded: The checkpoint.
        defaults: Its settings of generation, complete.
        writer: The model in memory.
        backend: The library that runs it.
    """

    loaded: LoadedCheckpoint
    defaults: GenerationConfig
    writer: Writer
    backend: Backend


def open_model(spec: LoadSpec) -> OpenedModel:
    """Load a model with the library that the spec names, or with the one that is better here.

    Args:
        spec: What to load and how.

    Returns:
        The model, ready to write.

    Raises:
        ConfigurationError: CTranslate2 was asked for by name and cannot follow the checkpoint.
        ModelLoadError: It was asked for by name and cannot convert it (or the reasons of
            `load_model`).
    """
    return open_better(spec, converted=_open_converted, plain=_open_with_torch)


def _open_converted(spec: LoadSpec) -> OpenedModel:
    from langchain_xlm.engines.ctranslate2_writer import CTranslate2Writer, unsupported
    from langchain_xlm.engines.lanes import lanes_here

    # Two lanes with both cores each write faster than one, and a sentence alone as fast as before
    # (see docs/speed-generation.md). What more lanes than two do to each other was not measured.
    loaded = load_converted(spec, lanes=2 if lanes_here() == 2 else 1)
    defaults = complete_defaults(loaded.generation_config, loaded.config, loaded.tokenizer)
    if strange := unsupported(defaults):
        raise ConfigurationError(
            f"The checkpoint {spec.model!r} sets {', '.join(strange)} for its generation, which"
            " CTranslate2 cannot follow. Give backend='torch'."
        )
    return OpenedModel(loaded, defaults, CTranslate2Writer(loaded, defaults), CTRANSLATE2)


def _open_with_torch(spec: LoadSpec) -> OpenedModel:
    from langchain_xlm.engines.torch_writer import TorchWriter
    from langchain_xlm.models.onednn import use_onednn

    loaded = load_model(spec)
    use_onednn(loaded)
    defaults = complete_defaults(loaded.generation_config, loaded.config, loaded.tokenizer)
    return OpenedModel(loaded, defaults, TorchWriter(loaded, defaults), TORCH)
