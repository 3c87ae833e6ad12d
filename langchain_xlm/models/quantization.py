"""Which layers are quantized, how, and by which library."""

from __future__ import annotations

import importlib
import json
import logging
from typing import TYPE_CHECKING, Any

from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.processor import computes_int8, has_wide_vectors

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel

    from langchain_xlm.models.int8_loading import RowwiseInt8Config

__all__ = [
    "ROWWISE_INT8",
    "ROWWISE_METHOD",
    "import_bitsandbytes",
    "multiplies_integers",
    "quantization_settings",
    "quantizer_of",
    "repacks_weights",
    "uses_rowwise_int8",
]

ROWWISE_INT8 = "row-wise int8"
"""What `quantizer_of` names where the package's own integer layers are used."""
ROWWISE_METHOD = "langchain_xlm_int8"
"""What transformers knows them by."""

# The modules of classification heads: of the XLM-R kinds, and of XLM.
_HEADS = ("classifier", "sequence_summary.summary")
# What bitsandbytes repacks 4-bit weights in, on CPUs with AVX512-BF16.
_BLOCK_COLUMNS, _BLOCK_ROWS = 64, 32


def uses_rowwise_int8(spec: LoadSpec, device: str) -> bool:
    """Tell whether `"8bit"` means the package's own integer layers rather than bitsandbytes'.

    Args:
        spec: What to load.
        device: The device that does the computing.

    Returns:
        True for models that read texts, whole on a CPU that multiplies 8-bit integers. Models
        that write texts stay with bitsandbytes, as does everything given a `BitsAndBytesConfig`.
    """
    return (
        spec.quantization == "8bit"
        and device == "cpu"
        and spec.task != "seq2seq"
        and not isinstance(spec.device_map, str)
        and "disk" not in spec.places.values()
        and computes_int8()
    )


def quantizer_of(model: PreTrainedModel) -> str | None:
    """Name what quantized a loaded model.

    Args:
        model: A loaded model.

    Returns:
        `"row-wise int8"`, `"bitsandbytes"` or another library's name; None for a plain model.
    """
    quantizer = getattr(model, "hf_quantizer", None)
    if quantizer is None:
        return None
    method = quantizer.quantization_config.quant_method
    name = str(getattr(method, "value", method))
    return ROWWISE_INT8 if name == ROWWISE_METHOD else name


def quantization_settings(
    spec: LoadSpec,
    config: PreTrainedConfig,
    model_class: Any,
    *,
    dtype: torch.dtype,
    device: str,
) -> BitsAndBytesConfig | RowwiseInt8Config:
    """Spell out what the quantization of a spec means for one checkpoint.

    Args:
        spec: What to load, quantized.
        config: The checkpoint's own configuration.
        model_class: The auto class that will load it.
        dtype: In which 4-bit layers compute.
        device: The device that computes, such as `"cuda:0"`.

    Returns:
        The settings of bitsandbytes, or of our own integer layers, with the modules to leave out.
    """
    assert spec.quantization is not None
    from transformers import BitsAndBytesConfig

    exact = _exact_modules(spec, config, model_class, device=device)
    if uses_rowwise_int8(spec, device):
        return _rowwise_int8(exact)
    if spec.quantization == "8bit":
        settings: dict[str, Any] = {"load_in_8bit": True, "llm_int8_skip_modules": exact}
    elif spec.quantization == "4bit":
        # NF4 with double quantization: Dettmers et al. 2023, https://arxiv.org/abs/2305.14314
        settings = {
            "load_in_4bit": True,
            "bnb_4bit_quant_type": "nf4",
            "bnb_4bit_use_double_quant": True,
            "bnb_4bit_compute_dtype": dtype,
            "llm_int8_skip_modules": exact,
        }
    else:
        settings = json.loads(spec.quantization)
    return BitsAndBytesConfig(**settings)


def _rowwise_int8(exact: list[str] | None) -> RowwiseInt8Config:
    from langchain_xlm.models.int8_loading import RowwiseInt8Config, register

    register()
    return RowwiseInt8Config(exact)


def multiplies_integers() -> bool:
    """Tell whether bitsandbytes multiplies 8-bit integers as such on this CPU, or as float32.

    Returns:
        Whether it does; its own test of the processor.
    """
    return has_wide_vectors()


def _exact_modules(
    spec: LoadSpec, config: PreTrainedConfig, model_class: Any, *, device: str
) -> list[str] | None:
    """Name the modules to leave out of the quantization; None leaves it to transformers.

    A head is small and decides everything. Some CPUs repack 4-bit weights in whole blocks, and
    fail at run time on a layer whose width is not made of them.

    Returns:
        Names, or patterns of names, of modules.
    """
    import torch
    from transformers.quantizers.base import get_keys_to_not_convert

    exact = list(_HEADS) if spec.task in ("classifier", "cross-encoder") else []
    if spec.quantization == "4bit" and device == "cpu" and repacks_weights():
        with torch.device("meta"):
            model = model_class.from_config(config)
        odd = [
            name
            for name, layer in model.named_modules()
            if isinstance(layer, torch.nn.Linear)
            and (layer.in_features % _BLOCK_COLUMNS or layer.out_features % _BLOCK_ROWS)
        ]
        # A list replaces the choice of transformers, so it must hold that as well.
        exact += [*odd, *get_keys_to_not_convert(model)] if odd else []
    return exact or None


def repacks_weights() -> bool:
    """Tell whether bitsandbytes repacks 4-bit weights for this CPU.

    Returns:
        Whether it has the instructions for it.
    """
    from bitsandbytes import functional

    return bool(functional.has_avx512bf16())  # type: ignore[no-untyped-call]


def import_bitsandbytes() -> None:
    """Import bitsandbytes without two of its notes, which say nothing that a user can act on.

    One tells that an optional kernel of the hub is missing, the other, at every layer of every
    batch, that 8-bit products are computed in float16, as they always are.
    """
    for name in ("bitsandbytes.backends.cpu.ops", "bitsandbytes.autograd._functions"):
        log = logging.getLogger(name)
        if _is_worth_reading not in log.filters:
            log.addFilter(_is_worth_reading)
    importlib.import_module("bitsandbytes")


def _is_worth_reading(record: logging.LogRecord) -> bool:
    message = str(record.msg)
    return "kernels-community" not in message and "inputs will be cast from" not in message
