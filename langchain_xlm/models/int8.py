"""Layers in 8-bit integers with one scale a row: the quick `"8bit"` of a CPU.

Each output channel of a weight and each token of an input has its own scale, so that one large
value spoils its own row only. The product itself is of integers, on the processor's own units.
The vocabulary matrix, which is looked up and never multiplied, has one scale for each piece. All
are quantized one by one, and in parts, while a checkpoint is read, through transformers' own
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

from langchain_xlm.models.quantization import ROWWISE_METHOD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = ["NUMBERS_AT_ONCE", "Int8Embedding", "Int8Linear", "RowwiseInt8Config", "quantize_rows"]

NUMBERS_AT_ONCE = 2**20
"""How many numbers of a weight are converted at once, so that loading needs little more memory."""
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


def _quantize_in_parts(weight: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row of a weight, a few at a time, without a whole copy of it in float32."""
    rows = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scales = torch.empty(weight.shape[0], dtype=torch.float32, device=weight.device)
    step = max(1, NUMBERS_AT_ONCE // weight.shape[1])
    for start in range(0, weight.shape[0], step):
        part = slice(start, start + step)
        integers, steps = quantize_rows(weight[part].float())
        rows[part], scales[part] = integers, steps[:, 0]
    return rows, scales


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


class Int8Embedding(torch.nn.Module):
    """A vocabulary matrix in 8 bits, for inference: a row and its scale for each piece.

    Attributes:
        weight: `(pieces, width)`, int8.
        scale: What one step of each row stands for, `(pieces,)`, float32.
        padding_idx: The piece that fills up batches; None for none. Its row is as in the file.
    """

    scale: torch.Tensor

    def __init__(
        self, pieces: int, width: int, *, padding_idx: int | None, dtype: torch.dtype
    ) -> None:
        """Make a matrix without values; they come with the checkpoint.

        Args:
            pieces: Rows.
            width: Width of a row.
            padding_idx: The piece that fills up batches.
            dtype: Type of the output.
        """
        super().__init__()
        self.num_embeddings, self.embedding_dim = pieces, width
        self.padding_idx = padding_idx
        self.weight = torch.nn.Parameter(
            torch.empty(pieces, width, dtype=torch.int8), requires_grad=False
        )
        self.register_buffer("scale", torch.empty(pieces, dtype=torch.float32))
        self._dtype = dtype

    def forward(self, ids: torch.Tensor) -> torch.Tensor:
        """Look up the rows of pieces.

        Args:
            ids: Numbers of pieces, `(...)`, int64.

        Returns:
            `(..., width)`, of the dtype in which the model computes.
        """
        rows = torch.nn.functional.embedding(ids, self.weight).float()
        return rows.mul_(self.scale[ids].unsqueeze(-1)).to(self._dtype)

    def extra_repr(self) -> str:
        """Describe the matrix where the model is printed."""
        return f"{self.num_embeddings}, {self.embedding_dim}, padding_idx={self.padding_idx}"


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
            rows, scales = _quantize_in_parts(weight)
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
        _replace_vocabulary(model)

    def _process_model_after_weight_loading(self, model: PreTrainedModel, **_others: Any) -> None:
        """Copy what kept its type, which else holds the whole file of the checkpoint in memory."""
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
