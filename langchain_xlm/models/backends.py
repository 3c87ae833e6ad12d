"""Which library runs a model: transformers on torch, or CTranslate2."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal

from langchain_xlm.errors import ConfigurationError

if TYPE_CHECKING:
    from langchain_xlm.models.config import LoadSpec

__all__ = ["CTRANSLATE2", "TORCH", "Backend", "backend_name", "matters", "obstacles"]

Backend = Literal["torch", "ctranslate2"]
"""What runs a loaded model."""

TORCH: Backend = "torch"
CTRANSLATE2: Backend = "ctranslate2"
_NAMES = ("auto", TORCH, CTRANSLATE2)


def backend_name(value: object) -> str:
    """`"auto"`, `"torch"` or `"ctranslate2"`.

    Args:
        value: What the caller gave.

    Returns:
        The same.

    Raises:
        ConfigurationError: It is none of them.
    """
    if value in _NAMES:
        return str(value)
    raise ConfigurationError(
        f"backend={value!r} is unknown. Give 'auto', 'torch' or 'ctranslate2'."
    )


def matters(spec: LoadSpec) -> bool:
    """Tell whether there is a choice of backend for a spec.

    Args:
        spec: What to load and how.

    Returns:
        Whether what `backend` says changes what is loaded. Classifiers always run on torch, and
        encoders as well unless CTranslate2 is named, or left to decide about 8 bits.
    """
    if spec.task == "encoder":
        return spec.backend == CTRANSLATE2 or spec.quantization == "8bit"
    return spec.task == "seq2seq"


def obstacles(spec: LoadSpec) -> Iterator[str]:
    """Say, without reading a file, what of a spec CTranslate2 cannot do.

    Args:
        spec: What to load and how.

    Yields:
        One sentence for each obstacle, with what to give instead.
    """
    what = "backend='ctranslate2'"
    if spec.task == "seq2seq" and spec.is_starter:
        yield (
            f"{what} cannot run the bundled starter, an encoder-decoder. Leave backend='auto', or"
            " give a checkpoint such as model='facebook/nllb-200-distilled-600M'."
        )
    if spec.device not in (None, "cpu"):
        yield (
            f"{what} runs on the CPU here, and device={spec.device!r} was given. Give device='cpu'"
            " or backend='torch'."
        )
    if spec.device_map is not None:
        yield (f"{what} cannot follow a device map. Leave device_map out, or give backend='torch'.")
    if spec.quantization not in (None, "8bit"):
        yield (
            f"{what} computes in 32 or 8 bits, and another quantization was given. Give"
            " quantization='8bit' or None, or backend='torch'."
        )
    if spec.dtype not in ("auto", "float32"):
        yield (
            f"{what} computes in 32 or 8 bits, and dtype={spec.dtype!r} was given. Leave"
            " dtype='auto', or give backend='torch'."
        )
    if spec.attn_implementation is not None:
        yield (
            f"{what} has its own attention. Leave attn_implementation out, or give backend='torch'."
        )
    if spec.trust_remote_code:
        yield (
            f"{what} cannot run code from a checkpoint. Leave trust_remote_code out, or give"
            " backend='torch'."
        )
