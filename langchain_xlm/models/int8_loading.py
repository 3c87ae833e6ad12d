"""Checkpoints read into 8-bit layers, one by one, as a quantizer of transformers."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from langchain_xlm.models.int8 import Int8Embedding, Int8Linear, LastInput, quantize_weight
from langchain_xlm.models.quantization import ROWWISE_METHOD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["RowwiseInt8Config", "register"]


@functools.cache
def register() -> None:
    """Make the quantizer known to transformers, once in a process."""
    register_quantization_config(ROWWISE_METHOD)(RowwiseInt8Config)
    register_quantizer(ROWWISE_METHOD)(_RowwiseInt8Quantizer)


class RowwiseInt8Config(QuantizationConfigMixin):
    """What transformers must know to load a model with these layers.

    Attributes:
        exact: Names of modules that stay as they are; None leaves it to transformers.
    """

    def __init__(self, exact: list[str] | None = None, **_others: Any) -> None:
        """Describe the quantization.

        Args:
            exact: Names of modules that stay as they are; None leaves it to transformers.
            _others: What transformers saves beside.
        """
        self.quant_method = ROWWISE_METHOD  # type: ignore[assignment] # a method of our own
        self.exact = exact


class _Quantize(ConversionOps):
    """One weight of the checkpoint to integers and scales, as it is read."""

    def convert(  # type: ignore[override]
        self,
        input_dict: Mapping[str, Any],
        *_: Any,
        full_layer_name: str,
        model: PreTrainedModel,
        **_others: Any,
    ) -> dict[str, torch.Tensor]:
        owner = model.get_submodule(full_layer_name.rpartition(".")[0])
        converted: dict[str, torch.Tensor] = {}
        for name, value in input_dict.items():
            weight = value[0] if isinstance(value, list) else value
            rows, scales = quantize_weight(weight, is_multiplied=isinstance(owner, Int8Linear))
            converted[name] = torch.nn.Parameter(rows, requires_grad=False)
            converted[name.removesuffix("weight") + "scale"] = scales
        return converted


class _RowwiseInt8Quantizer(HfQuantizer):
    requires_calibration = False

    def param_needs_quantization(
        self, model: PreTrainedModel, param_name: str, **_others: Any
    ) -> bool:
        module, _, name = param_name.rpartition(".")
        owner = model.get_submodule(module)
        return name == "weight" and isinstance(owner, (Int8Linear, Int8Embedding))

    def get_quantize_ops(self) -> _Quantize:
        return _Quantize()

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **_others: Any) -> None:
        """Put the layers in place, empty, and the vocabulary matrix."""
        assert isinstance(self.quantization_config, RowwiseInt8Config)
        skipped = self.get_modules_to_not_convert(
            model, self.quantization_config.exact, list(model._keep_in_fp32_modules or ())
        )
        last_input = LastInput()
        for name, layer in list(model.named_modules()):
            inside = any(f".{one}." in f".{name}." for one in skipped)
            if not isinstance(layer, torch.nn.Linear) or inside:
                continue
            with torch.device("meta"):
                quantized = Int8Linear(
                    layer.in_features,
                    layer.out_features,
                    bias=layer.bias is not None,
                    dtype=layer.weight.dtype,
                    last_input=last_input,
                )
            model.set_submodule(name, quantized)
        _replace_vocabulary(model)

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_others: Any) -> None:
        """Pack the layers, and copy what kept its type, which else holds the whole file."""
        for layer in model.modules():
            if isinstance(layer, Int8Linear):
                layer.pack()
        for parameter in model.parameters():
            if parameter.dtype != torch.int8:
                parameter.data = parameter.data.clone()


def _replace_vocabulary(model: PreTrainedModel) -> None:
    """Put an empty `Int8Embedding` in the place of the vocabulary matrix.

    A matrix that is also the output layer stays as it is, since that one multiplies with it, and
    so does one of another class, whose lookup may do more.
    """
    vocabulary = model.get_input_embeddings()
    if type(vocabulary) is not torch.nn.Embedding:
        return
    name = next(name for name, module in model.named_modules() if module is vocabulary)
    tied = model.all_tied_weights_keys
    if f"{name}.weight" in {*tied, *tied.values()}:
        return
    with torch.device("meta"):
        quantized = Int8Embedding(
            vocabulary.num_embeddings,
            vocabulary.embedding_dim,
            padding_idx=vocabulary.padding_idx,
            dtype=vocabulary.weight.dtype,
        )
    model.set_submodule(name, quantized)
