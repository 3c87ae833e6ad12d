"""Bytes of models: what a loaded one holds, what one will hold, from its configuration."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from langchain_xlm.models import checks, device_maps, files, placement
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.families import families_of

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedModel

__all__ = ["expected_bytes", "model_bytes"]


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
        if tensor.is_mkldnn:  # packed by oneDNN, which lets nobody look into it
            seen[str(tensor.device), id(tensor)] = tensor.numel() * tensor.element_size()
        elif tensor.device.type != "meta":
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

    The model is built without memory (torch's meta device) from its configuration.

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
    from langchain_xlm.models.skeleton import build_skeleton

    spec = files.pin(spec)
    settings = checks.read_settings(spec)
    placement.check_packages(spec, settings)
    family = families_of(settings["model_type"], task=spec.task, model=spec.model)[0]
    _, config, arguments = prepare_weights(spec, family)
    device = device_maps.computing_device(arguments.get("device_map", {"": "cpu"}))
    skeleton = build_skeleton(spec, family, config, dtype=arguments["dtype"], device=device)
    return skeleton.weight_bytes().total
