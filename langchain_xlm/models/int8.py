"""Linear layers in 8-bit integers with one scale a row: the quick `"8bit"` of a CPU.

Each output channel of a weight and each token of an input has its own scale, so that one large
value spoils its own row only. The product itself is of integers, on the processor's own units.
The layers are quantized one by one while a checkpoint is read, through transformers' own
interface for quantizers.

Source:
    The scheme (vector-wise, without the outlier columns) of Dettmers et al. 2022, section 3.1,
    https://arxiv.org/abs/2208.07339
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from transformers.core_model_loading import ConversionOps
from transformers.quantizers.auto import register_quantization_config, register_quantizer
from transformers.quantizers.base import HfQuantizer
from transformers.utils.quantization_config import QuantizationConfigMixin

from langchain_xlm.models.placement import ROWWISE_METHOD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["Int8Linear", "RowwiseInt8Config", "quantize_rows"]

_LARGEST = 127
_SMALLEST = torch.finfo(torch.float32).tiny


def quantize_rows(values: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row to 8-bit integers.

    Args:
        values: `(rows, columns)`, float32.

    Returns:
        The integers, `(rows, columns)`, int8, and what one of them stands for, `(rows, 1)`,
        float32; that of a row of zeros is tiny.
    """
    scales = values.abs().amax(dim=1, keepdim=True).div_(_LARGEST).clamp_min_(_SMALLEST)
    return (values / scales).round_().to(torch.int8), scales


class _LastInput:
    """The quantized form of the last input: query, key and value layers get the same one."""

    def __init__(self) -> None:
        self._source: torch.Tensor | None = None
        self._rows: tuple[torch.Tensor, torch.Tensor] | None = None

    def rows_of(self, source: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        if source is not self._source or self._rows is None:
            self._rows = quantize_rows(source.reshape(-1, source.shape[-1]).float())
            self._source = source
        return self._rows


class Int8Linear(torch.nn.Module):
    """A linear layer whose weight is in 8 bits, for inference.

    Attributes:
        weight: `(outputs, inputs)`, int8.
        scale: What one step of each output's weights stands for, `(outputs,)`, float32.
        bias: `(outputs,)`, float; or None.
    """

    scale: torch.Tensor

    def __init__(
        self, inputs: int, outputs: int, *, bias: bool, dtype: torch.dtype, last_input: _LastInput
    ) -> None:
        """Make a layer without values; they come with the checkpoint.

        Args:
            inputs: Width of the input.
            outputs: Width of the output.
            bias: Whether it adds a bias.
            dtype: Type of the bias.
            last_input: Shared by the layers of one model.
        """
        super().__init__()
        self.in_features, self.out_features = inputs, outputs
        self.weight = torch.nn.Parameter(
            torch.empty(outputs, inputs, dtype=torch.int8), requires_grad=False
        )
        self.register_buffer("scale", torch.empty(outputs, dtype=torch.float32))
        self.bias = torch.nn.Parameter(torch.empty(outputs, dtype=dtype)) if bias else None
        self._last_input = last_input

    def forward(self, states: torch.Tensor) -> torch.Tensor:
        """Multiply with the weight, and add the bias.

        Args:
            states: `(..., inputs)`, any float dtype.

        Returns:
            `(..., outputs)`, of the input's dtype.
        """
        shape = (*states.shape[:-1], self.out_features)
        if states.numel() == 0:
            return states.new_empty(shape)
        rows, scales = self._last_input.rows_of(states)
        product = torch._int_mm(rows, self.weight.t()).float().mul_(scales)
        if self.bias is None:
            product.mul_(self.scale)
        else:
            torch.addcmul(self.bias.float(), product, self.scale, out=product)
        return product.to(states.dtype).view(shape)

    def extra_repr(self) -> str:
        """Describe the layer where the model is printed."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


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
        self, input_dict: Mapping[str, Any], *_: Any, **_others: Any
    ) -> dict[str, torch.Tensor]:
        converted: dict[str, torch.Tensor] = {}
        for name, value in input_dict.items():
            weight = value[0] if isinstance(value, list) else value
            rows, scales = quantize_rows(weight.float())
            converted[name] = torch.nn.Parameter(rows, requires_grad=False)
            converted[name.removesuffix("weight") + "scale"] = scales[:, 0]
        return converted


class _RowwiseInt8Quantizer(HfQuantizer):
    requires_calibration = False

    def param_needs_quantization(
        self, model: PreTrainedModel, param_name: str, **_others: Any
    ) -> bool:
        module, _, name = param_name.rpartition(".")
        return name == "weight" and isinstance(model.get_submodule(module), Int8Linear)

    def get_quantize_ops(self) -> _Quantize:
        return _Quantize()

    def is_serializable(self) -> bool:
        return False

    @property
    def is_trainable(self) -> bool:
        return False

    def _process_model_before_weight_loading(self, model: PreTrainedModel, **_others: Any) -> None:
        """Put the layers in place, empty; the vocabulary matrix is kept in 16 bits."""
        assert isinstance(self.quantization_config, RowwiseInt8Config)
        skipped = self.get_modules_to_not_convert(
            model, self.quantization_config.exact, list(model._keep_in_fp32_modules or ())
        )
        last_input = _LastInput()
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
        # It is the larger part of a multilingual model and is only looked up, never multiplied.
        vocabulary: Any = model.get_input_embeddings()
        vocabulary.weight = torch.nn.Parameter(vocabulary.weight.to(torch.bfloat16))

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_others: Any) -> None:
        """Copy what kept its type, which else holds the whole file of the checkpoint in memory."""
        for parameter in model.parameters():
            if parameter.dtype != torch.int8:
                parameter.data = parameter.data.clone()
