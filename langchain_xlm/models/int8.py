"""Layers in 8-bit integers with one scale a row: the quick `"8bit"` of a CPU.

Each output channel of a weight and each token of an input has its own scale, so that one large
value spoils its own row only. The product itself is of integers, on the processor's own units for
them, or with AVX2, where it is still twice as quick as one of float32. The vocabulary matrix,
which is looked up and never multiplied, has one scale for each piece. `models.int8_loading` puts
them into a model while its checkpoint is read.

Source:
    The scheme (vector-wise, without the outlier columns) of Dettmers et al. 2022, section 3.1,
    https://arxiv.org/abs/2208.07339
"""

from __future__ import annotations

import threading

import torch

from langchain_xlm.models.processor import integer_product, packs_integers

__all__ = [
    "NUMBERS_AT_ONCE",
    "Int8Embedding",
    "Int8Linear",
    "LastInput",
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
        largest = torch.maximum(values.amax(dim=1, keepdim=True), -values.amin(dim=1, keepdim=True))
        scales = largest.div_(_LARGEST).clamp_min_(_SMALLEST)
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


class LastInput(threading.local):
    """The quantized form of the last input: query, key and value layers get the same one.

    Each thread has its own, so that parts of a batch can run side by side.
    """

    def __init__(self) -> None:
        self._source: torch.Tensor | None = None
        self._rows: tuple[torch.Tensor, torch.Tensor] | None = None

    def rows_of(self, source: torch.Tensor, *, unsigned: bool) -> tuple[torch.Tensor, torch.Tensor]:
        """Round an input, or return what it was rounded to if it is the last one again.

        Args:
            source: `(..., width)`, any float dtype.
            unsigned: Whether 128 is added to every integer.

        Returns:
            The integers, `(tokens, width)`, int8 or uint8, and what one of each token stands for,
            `(tokens, 1)`, float32.
        """
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
        self, inputs: int, outputs: int, *, bias: bool, dtype: torch.dtype, last_input: LastInput
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
        if packs_integers():
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
        last_input=LastInput(),
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
