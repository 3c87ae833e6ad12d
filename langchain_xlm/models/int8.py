"""Layers in 8-bit integers with one scale a row: the quick `"8bit"` of a CPU.

Each output channel of a weight and each token of an input has its own scale, so that one large
value spoils its own row only. The product itself is of integers, on the processor's own units for
them, or with AVX2, where it is still twice as quick as one of float32. The vocabulary matrix,
which is looked up and never multiplied, has one scale for each piece. All are quantized one by
one, and in parts, while a checkpoint is read, through transformers' own interface for quantizers.

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

from langchain_xlm.models.processor import integer_product
from langchain_xlm.models.quantization import ROWWISE_METHOD

if TYPE_CHECKING:
    from transformers import PreTrainedModel

__all__ = [
    "NUMBERS_AT_ONCE",
    "Int8Embedding",
    "Int8Linear",
    "RowwiseInt8Config",
    "pairwise_scales",
    "quantize_rows",
    "quantize_weight",
    "quantized_linear",
]

NUMBERS_AT_ONCE = 2**20
"""How many numbers of a weight are converted at once, so that loading needs little more memory."""
_LARGEST = 127
_SMALLEST = torch.finfo(torch.float32).tiny
# Where products are added in pairs, inputs are moved up by 128 to be unsigned.
# The largest sum of a pair leaves room for what rounding two weights up may add.
_ZERO, _LARGEST_UNSIGNED, _LARGEST_PAIR = 128, 255, 2**15 - 1 - (255 + 128) / 2


def quantize_rows(
    values: torch.Tensor, scales: torch.Tensor | None = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row to 8-bit integers.

    Args:
        values: `(rows, columns)`, float32.
        scales: What one integer is to stand for, `(rows, 1)`, float32; None takes the least for
            which all values have one.

    Returns:
        The integers, `(rows, columns)`, int8, and what one of them stands for, `(rows, 1)`,
        float32; that of a row of zeros is tiny.
    """
    if scales is None:
        scales = values.abs().amax(dim=1, keepdim=True).div_(_LARGEST).clamp_min_(_SMALLEST)
    return (values / scales).round_().to(torch.int8), scales


def pairwise_scales(weight: torch.Tensor) -> torch.Tensor:
    """Find scales for a weight whose products are added two by two in 16 bits.

    What ends a sum at 32,767 is mostly a token's largest value, which is 255, beside one near
    zero, which is 128. Each row gets the least scale for which no such pair ends there: rows with
    a large value beside another of its sign are rounded a little coarser, the others not at all.

    Args:
        weight: `(outputs, inputs)`, float32.

    Returns:
        What one integer of each row stands for, `(outputs, 1)`, float32.
    """
    if weight.shape[1] % 2:
        weight = torch.nn.functional.pad(weight, (0, 1))
    left, right = weight.view(len(weight), -1, 2).unbind(-1)
    sizes = left.abs(), right.abs()
    beside = torch.where(left * right > 0, torch.minimum(*sizes), 0.0)
    pairs = _LARGEST_UNSIGNED * torch.maximum(*sizes) + _ZERO * beside
    widest = weight.abs().amax(dim=1, keepdim=True) / _LARGEST
    careful = pairs.amax(dim=1, keepdim=True) / _LARGEST_PAIR
    return torch.maximum(widest, careful).clamp_min_(_SMALLEST)


def quantize_weight(
    weight: torch.Tensor, *, is_multiplied: bool
) -> tuple[torch.Tensor, torch.Tensor]:
    """Round each row of a weight, a few at a time, without a whole copy of it in float32.

    Args:
        weight: `(outputs, inputs)`, any float dtype.
        is_multiplied: Whether it is that of a linear layer; else it is looked up.

    Returns:
        The integers, `(outputs, inputs)`, int8, and what one of each row stands for,
        `(outputs,)`, float32.
    """
    in_pairs = is_multiplied and integer_product() != "exact"
    rows = torch.empty(weight.shape, dtype=torch.int8, device=weight.device)
    scales = torch.empty(weight.shape[0], dtype=torch.float32, device=weight.device)
    step = max(1, NUMBERS_AT_ONCE // weight.shape[1])
    for start in range(0, weight.shape[0], step):
        part = slice(start, start + step)
        values = weight[part].float()
        integers, steps = quantize_rows(values, pairwise_scales(values) if in_pairs else None)
        rows[part], scales[part] = integers, steps[:, 0]
    return rows, scales


class _LastInput:
    """The quantized form of the last input: query, key and value layers get the same one."""

    def __init__(self) -> None:
        self._source: torch.Tensor | None = None
        self._rows: tuple[torch.Tensor, torch.Tensor] | None = None

    def rows_of(self, source: torch.Tensor, *, unsigned: bool) -> tuple[torch.Tensor, torch.Tensor]:
        if source is not self._source or self._rows is None:
            rows, scales = quantize_rows(source.reshape(-1, source.shape[-1]).float())
            if unsigned:  # the highest bit turned over is 128 more
                rows = rows.view(torch.uint8).bitwise_xor_(_ZERO)
            self._rows = rows, scales
            self._source = source
        return self._rows


class Int8Linear(torch.nn.Module):
    """A linear layer whose weight is in 8 bits, for inference.

    Attributes:
        weight: `(outputs, inputs)`, int8; after `pack` in the order that oneDNN wants.
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

    def pack(self) -> None:
        """Bring the weight into the order that is multiplied fastest, where that is another."""
        if integer_product() == "pairwise":
            packed = torch.ops.onednn.qlinear_prepack(self.weight, None)
            self.weight = torch.nn.Parameter(packed, requires_grad=False)

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
        packed = self.weight.is_mkldnn
        rows, scales = self._last_input.rows_of(states, unsigned=packed)
        if packed:
            product, left = _multiply_packed(rows, self.weight, self.scale), scales
        else:
            product = torch._int_mm(rows, self.weight.t()).float().mul_(scales)
            left = self.scale
        if self.bias is None:
            product.mul_(left)
        else:
            torch.addcmul(self.bias.float(), product, left, out=product)
        return product.to(states.dtype).view(shape)

    def extra_repr(self) -> str:
        """Describe the layer where the model is printed."""
        return f"{self.in_features}, {self.out_features}, bias={self.bias is not None}"


def quantized_linear(layer: torch.nn.Linear) -> Int8Linear:
    """Round a layer that is in memory.

    Args:
        layer: With or without a bias, any float dtype.

    Returns:
        A layer that computes nearly the same.
    """
    quantized = Int8Linear(
        layer.in_features,
        layer.out_features,
        bias=layer.bias is not None,
        dtype=layer.weight.dtype,
        last_input=_LastInput(),
    )
    rows, quantized.scale = quantize_weight(layer.weight.detach(), is_multiplied=True)
    quantized.weight.data = rows
    if quantized.bias is not None:
        quantized.bias.data = layer.bias.detach()
    quantized.pack()
    return quantized.requires_grad_(False)


def _multiply_packed(rows: torch.Tensor, weight: torch.Tensor, scale: torch.Tensor) -> torch.Tensor:
    """Multiply integers with oneDNN.

    Args:
        rows: `(tokens, inputs)`, uint8, 128 for zero.
        weight: `(inputs, outputs)`, int8, packed.
        scale: What one step of each output's weights stands for, `(outputs,)`, float32.

    Returns:
        `(tokens, outputs)`, float32, in steps of each token's scale.
    """
    zeros = torch.zeros_like(scale, dtype=torch.int32)
    product: torch.Tensor = torch.ops.onednn.qlinear_pointwise(
        rows, 1.0, _ZERO, weight, scale, zeros, None, 1.0, 0, torch.float32, "none", [], ""
    )
    return product


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
