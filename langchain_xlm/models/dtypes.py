"""In which dtype a model is loaded, and which cannot be."""

from __future__ import annotations

import importlib.util
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import ConfigurationError, MissingDependencyError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.families import Family
from langchain_xlm.models.processor import computes_bfloat16
from langchain_xlm.models.quantization import uses_rowwise_int8

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

__all__ = ["check_numbers", "default_dtype"]

# Weights in linear layers from which "auto" takes bfloat16 on a CPU. Below, float32 takes under
# 0.2 ms a token on one core, and keeps every digit.
_BFLOAT16_FROM = 16_000_000


def default_dtype(
    spec: LoadSpec,
    family: Family,
    config: PreTrainedConfig,
    model_class: Any,
    *,
    device: str,
) -> torch.dtype:
    """Tell in which dtype a model is loaded, but for what is quantized.

    Args:
        spec: What to load.
        family: The row of the family table.
        config: The checkpoint's own configuration.
        model_class: The auto class that will load it.
        device: The device that computes, such as `"cuda:0"`.

    Returns:
        The dtype that is asked for, or for `"auto"` the one that suits the device: 16 bits where
        it computes in them, if that pays, else 32.
    """
    import torch

    if spec.dtype != "auto":
        chosen = getattr(torch, spec.dtype)
        assert isinstance(chosen, torch.dtype)
        return chosen
    if uses_rowwise_int8(spec, device):
        return torch.float32  # little is left in it, and quicker so
    if device == "cpu" and computes_bfloat16():
        large = _linear_weights(config, model_class) >= _BFLOAT16_FROM
        return torch.bfloat16 if large else torch.float32
    if not device.startswith("cuda"):
        return torch.float32
    if torch.cuda.is_bf16_supported():
        return torch.bfloat16
    return torch.float32 if family.overflows_in_float16 else torch.float16


def _linear_weights(config: PreTrainedConfig, model_class: Any) -> int:
    """Count the weights that every token is multiplied with, those of a vocabulary left out."""
    import torch

    with torch.device("meta"):
        model = model_class.from_config(config)
    vocabulary = model.get_output_embeddings()
    return sum(
        layer.weight.numel()
        for layer in model.modules()
        if isinstance(layer, torch.nn.Linear) and layer is not vocabulary
    )


def check_numbers(spec: LoadSpec, family: Family, device: str) -> None:
    """Refuse what this family or this machine cannot compute."""
    if spec.dtype == "float16" and family.overflows_in_float16:
        raise ConfigurationError(
            f"{family.name} models pass the largest float16 while they compute."
            " Give dtype='bfloat16', or 'float32'."
        )
    if not (spec.attn_implementation or "").startswith("flash_attention"):
        return
    if not device.startswith(("cuda", "xpu", "npu")):
        raise ConfigurationError(
            f"attn_implementation={spec.attn_implementation!r} needs a GPU, but the model would"
            f" run on {device!r}. Give 'sdpa' instead."
        )
    if not any(importlib.util.find_spec(name) for name in ("flash_attn", "kernels")):
        raise MissingDependencyError(
            "flash-attn", needed_for=f"attn_implementation={spec.attn_implementation!r}"
        )
