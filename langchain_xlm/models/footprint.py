"""Bytes of models: what a loaded one holds, what one will hold, from its configuration."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

from langchain_xlm.models import checks, files, placement
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.families import families_of

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedModel

    from langchain_xlm.models.int8 import RowwiseInt8Config

__all__ = ["bytes_as_loaded", "expected_bytes", "model_bytes"]


def model_bytes(model: PreTrainedModel) -> int:
    """Count what the weights of a loaded model hold, on all devices together.

    Args:
        model: The model, whole, split or quantized.

    Returns:
        Bytes of its parameters, buffers and scales of quantization; shared ones count once, and
        what lies on the disk counts nothing.
    """
    seen: dict[tuple[str, int], int] = {}
    for tensor in _tensors(model):
        if tensor.device.type != "meta":
            storage = tensor.untyped_storage()
            seen[str(tensor.device), storage.data_ptr()] = storage.nbytes()
    return sum(seen.values())


def _tensors(model: torch.nn.Module) -> Iterator[torch.Tensor]:
    import torch

    for tensor in (*model.parameters(), *model.buffers()):
        yield tensor
        # bitsandbytes keeps scales beside the weights: of 8 bits in one tensor, of 4 in a state.
        yield from _tensors_of(getattr(tensor, "SCB", None))
        yield from _tensors_of(getattr(tensor, "quant_state", None))
    for module in model.modules():
        # accelerate keeps what it offloads to the CPU in the hooks of modules.
        weights: Any = getattr(getattr(module, "_hf_hook", None), "weights_map", None)
        kept = getattr(getattr(weights, "dataset", weights), "state_dict", None)
        if isinstance(kept, dict):
            yield from (value for value in kept.values() if isinstance(value, torch.Tensor))


def _tensors_of(state: Any) -> Iterator[torch.Tensor]:
    import torch

    if isinstance(state, torch.Tensor):
        yield state
    elif state is not None:
        for part in (state.absmax, state.code, state.offset):
            yield from _tensors_of(part) if isinstance(part, torch.Tensor) else ()
        yield from _tensors_of(state.state2)


def expected_bytes(spec: LoadSpec) -> int:
    """Tell what the weights of a model will hold, before any of them is read.

    The model is built without memory (torch's meta device) from its configuration. A checkpoint
    that is saved quantized holds what its files hold.

    Args:
        spec: What would be loaded and how.

    Returns:
        Bytes, on all devices together; modules that the device map sends to the disk count as
        well.

    Raises:
        ModelNotFoundError: There is no such checkpoint.
        ModelLoadError: Its configuration is damaged.
        IncompatibleModelError: It cannot do what the task asks.
        ConfigurationError: This machine cannot place it as asked.
        MissingDependencyError: A package is missing.
    """
    from langchain_xlm.models.loading import prepare_weights

    spec = files.pin(spec)
    settings = checks.read_settings(spec)
    placement.check_packages(spec, settings)
    if settings.get("quantization_config") is not None:
        return sum(_tensor_bytes(path) for path in _weight_files(spec))
    family = families_of(settings["model_type"], task=spec.task, model=spec.model)[0]
    model_class, config, arguments = prepare_weights(spec, family)
    import torch

    pooler = {name: arguments[name] for name in ("add_pooling_layer",) if name in arguments}
    with torch.device("meta"):
        model = model_class.from_config(config, **pooler)
    return bytes_as_loaded(
        model, dtype=arguments["dtype"], quantization=arguments.get("quantization_config")
    )


def bytes_as_loaded(
    model: PreTrainedModel,
    *,
    dtype: torch.dtype,
    quantization: BitsAndBytesConfig | RowwiseInt8Config | None = None,
) -> int:
    """Tell what the weights of a model would hold, loaded in some numbers.

    Args:
        model: The model without weights (on torch's meta device).
        dtype: Type of what is not quantized.
        quantization: How the linear layers are quantized.

    Returns:
        Bytes.
    """
    import torch

    # mT5 has layers that float16 and quantization must leave in 32 bits.
    full = list(model._keep_in_fp32_modules or ())
    exact = [*full, *_exact_names(model, quantization)]
    rowwise, settings = _is_rowwise(quantization), cast("Any", quantization)
    widths: dict[int, float] = {}
    if rowwise:  # which keeps the vocabulary in 16 bits
        widths[id(model.get_input_embeddings().weight)] = 2
    tables = 0
    for name, layer in model.named_modules():
        for weight in layer.parameters(recurse=False):
            if _is_named(name, full) and (quantization is not None or dtype == torch.float16):
                widths[id(weight)] = 4
        if quantization is not None and isinstance(layer, torch.nn.Linear):
            if _is_named(name, exact):
                continue
            if rowwise or settings.load_in_8bit:
                # A number for each weight and a scale in 32 bits for each row.
                widths[id(layer.weight)] = 1 + 4 / layer.in_features
            else:
                # Half a number, the scale of 64 in 8 bits (double quantization) or in 32, and the
                # tables of both.
                double = settings.bnb_4bit_use_double_quant
                widths[id(layer.weight)] = 0.5 + (1.02 if double else 4) / 64
                tables += 4 * (16 + 256 if double else 16)
    total = float(tables)
    for weight in model.parameters():  # which names shared ones once
        total += weight.numel() * widths.get(id(weight), dtype.itemsize)
    for buffer in model.buffers():
        total += buffer.numel() * (
            dtype.itemsize if buffer.is_floating_point() else buffer.itemsize
        )
    return int(total)


def _exact_names(model: PreTrainedModel, quantization: Any) -> list[str]:
    if quantization is None:
        return []
    named = quantization.exact if _is_rowwise(quantization) else quantization.llm_int8_skip_modules
    if named is not None:
        return list(named)
    from transformers.quantizers.base import get_keys_to_not_convert

    return list(get_keys_to_not_convert(model))


def _is_rowwise(quantization: Any) -> bool:
    method = getattr(quantization, "quant_method", None)
    return method == placement.ROWWISE_METHOD


def _is_named(module: str, names: Iterable[str]) -> bool:
    return any(f".{name}." in f".{module}." for name in names)


def _weight_files(spec: LoadSpec) -> Iterator[Path]:
    path = files.find_weights(spec)
    if path.suffix != ".json":
        yield path
        return
    for name in sorted(set(json.loads(path.read_text("utf-8"))["weight_map"].values())):
        part = files.find_file(spec, name)
        if part is not None:
            yield part


def _tensor_bytes(path: Path) -> int:
    """The bytes behind the header of a safetensors file."""
    with path.open("rb") as file:
        header = int.from_bytes(file.read(8), "little")
    return path.stat().st_size - 8 - header
