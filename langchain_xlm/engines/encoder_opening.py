"""An encoder, opened with the library that runs it best here."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

from langchain_xlm.models import quantization
from langchain_xlm.models.backends import CTRANSLATE2, TORCH, Backend
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.converted import load_converted_encoder, open_better
from langchain_xlm.models.footprint import model_bytes
from langchain_xlm.models.loading import LoadedCheckpoint, load_model

if TYPE_CHECKING:
    import torch

    from langchain_xlm.engines.states import TokenStates

__all__ = ["OpenedEncoder", "Reader", "open_encoder"]


class Reader(Protocol):
    """A loaded encoder, from tokens to their states.

    Attributes:
        packed: Whether batches run without padding.
        lanes: How many parts of a batch run side by side.
    """

    packed: bool
    lanes: int

    def read(self, rows: Sequence[Sequence[int]]) -> TokenStates:
        """Compute the token states of a batch."""

    def rest(self) -> None:
        """Let go of threads that would slow other models."""

    def close(self) -> None:
        """End its threads."""


@dataclass(frozen=True, slots=True)
class OpenedEncoder:
    """A checkpoint with what runs it.

    Attributes:
        loaded: The checkpoint.
        reader: The model in memory.
        device: Where its states are.
        memory_bytes: What its weights hold.
        dtype: Name of the type that its products are computed in.
        quantizer: What quantized it; None for no one.
        backend: The library that runs it.
    """

    loaded: LoadedCheckpoint
    reader: Reader
    device: torch.device
    memory_bytes: int
    dtype: str
    quantizer: str | None
    backend: Backend


def open_encoder(spec: LoadSpec) -> OpenedEncoder:
    """Load an encoder with the library that the spec names, or with the one that is better here.

    Args:
        spec: What to load and how.

    Returns:
        The encoder, ready to read.

    Raises:
        ConfigurationError: CTranslate2 was asked for by name and has no converter for it.
        ModelLoadError: It was asked for by name and cannot convert it (or the reasons of
            `load_model`).
    """
    return open_better(spec, converted=_open_converted, plain=_open_with_torch)


def _open_converted(spec: LoadSpec) -> OpenedEncoder:
    import torch

    from langchain_xlm.engines.lanes import lanes_here
    from langchain_xlm.engines.states import ConvertedReader

    # CTranslate2 gives each of its lanes its cores for good. With one core a short query in float32
    # takes nearly twice as long as with two, in 8 bits as long (Zen 4).
    lanes = lanes_here() if spec.quantization == "8bit" else 1
    loaded = load_converted_encoder(spec, lanes=lanes)
    return OpenedEncoder(
        loaded,
        ConvertedReader(loaded),
        device=torch.device("cpu"),
        memory_bytes=loaded.memory_bytes,
        dtype=loaded.weights,
        quantizer="CTranslate2" if loaded.weights == "int8" else None,
        backend=CTRANSLATE2,
    )


def _open_with_torch(spec: LoadSpec) -> OpenedEncoder:
    from langchain_xlm.engines.states import StateReader
    from langchain_xlm.models.onednn import use_onednn

    loaded = load_model(spec)
    use_onednn(loaded)
    quantizer = quantization.quantizer_of(loaded.model)
    # What transformers says is the type of what is not quantized.
    is_integer = quantizer == quantization.ROWWISE_INT8
    return OpenedEncoder(
        loaded,
        StateReader(loaded),
        device=loaded.device,
        memory_bytes=model_bytes(loaded.model),
        dtype="int8" if is_integer else str(loaded.model.dtype).removeprefix("torch."),
        quantizer=quantizer,
        backend=TORCH,
    )
