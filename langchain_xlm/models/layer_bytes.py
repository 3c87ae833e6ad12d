"""What layers take beside their numbers: kept, while they are made, and while they multiply.

The figures follow the steps of bitsandbytes 0.50 and of torch one by one; a test holds them against
what torch's profiler sees of a real layer.
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from langchain_xlm.models.quantization import multiplies_integers, repacks_weights

if TYPE_CHECKING:
    import torch

__all__ = ["counted_bytes", "kept_bytes", "making_bytes", "product_bytes"]

# Numbers that share a scale in 4 bits, and scales that share one where they are quantized too:
# Dettmers et al. 2023, section 3, https://arxiv.org/abs/2305.14314
_BLOCK, _SCALE_BLOCK = 64, 256
# The 16 values of NF4 and the 256 of the scales' own 8-bit type, which each layer holds.
_CODE_BYTES, _SCALE_CODE_BYTES = 16 * 4, 256 * 4
# Bytes that a CPU holds for each number of a weight beside that weight while it is quantized. In 8
# bits: as float16, then scaled and rounded as float32. In 4: scaled as float32, as 32-bit places,
# these as bytes, and their two halves; a weight in 16 bits is float32 first.
_MAKING_8, _MAKING_4 = 2 + 4 + 4, 4 + 4 + 1 + 0.5 + 0.5
# While 4-bit weights are repacked for AVX512-BF16, when a layer first runs: unpacked to 32-bit
# integers, to bytes, those in the new order, and their two halves.
_REPACKING = 4 + 1 + 1 + 0.5 + 0.5
# Elsewhere than on a CPU: the weight itself and one copy of it.
_COPIES = 2
_FLOAT32 = 4
# Marian's table of positions is counted out in lists of Python, which no file has: for each number
# a place in a list, an object of NumPy, and the number again in an array.
_COUNTED = 8 + 32 + 8


def kept_bytes(layer: Any) -> int | None:
    """Tell what the weight of a quantized layer takes with its scales.

    Args:
        layer: A module.

    Returns:
        Bytes; None where it is no quantized layer.
    """
    kind = type(layer).__name__
    if kind not in ("Linear8bitLt", "Linear4bit", "Int8Linear"):
        return None
    numbers: int = layer.in_features * layer.out_features
    if kind == "Int8Linear":
        return numbers  # its scales are a buffer of their own
    if kind == "Linear8bitLt":
        return numbers + 4 * int(layer.out_features)  # one float32 for each row
    blocks = math.ceil(numbers / _BLOCK)
    scales = 4 * blocks
    if layer.weight.compress_statistics:
        scales = blocks + 4 * math.ceil(blocks / _SCALE_BLOCK) + _SCALE_CODE_BYTES + 4
    return math.ceil(numbers / 2) + scales + _CODE_BYTES


def counted_bytes(layer: Any) -> int:
    """Tell what is held while a layer that is in no file is counted out.

    Args:
        layer: A module.

    Returns:
        Bytes beside its weight; 0 for all but Marian's positions.
    """
    if type(layer).__name__ != "MarianSinusoidalPositionalEmbedding":
        return 0
    return _COUNTED * int(layer.num_embeddings) * int(layer.embedding_dim)


def making_bytes(layer: Any, dtype: torch.dtype, device: str) -> int:
    """Tell what bitsandbytes holds while it quantizes the weight of a layer.

    Args:
        layer: A layer of bitsandbytes.
        dtype: Of the weight as it comes.
        device: Kind of the device that does it, such as `"cuda"`.

    Returns:
        Bytes, without the weight itself on a CPU and with it elsewhere, where it is a copy.
    """
    numbers: int = layer.in_features * layer.out_features
    if device != "cpu":
        return _COPIES * dtype.itemsize * numbers
    if type(layer).__name__ == "Linear8bitLt":
        return _MAKING_8 * numbers
    widened = 0 if dtype.itemsize == _FLOAT32 else _FLOAT32
    return int((_MAKING_4 + widened) * numbers)


def product_bytes(
    layer: Any, tokens: int, dtype: torch.dtype, device: str, *, is_first: bool
) -> int:
    """Tell what a quantized layer holds at the highest point while it multiplies.

    Args:
        layer: A layer of bitsandbytes; others, which are made of torch's own operations, take 0.
        tokens: Rows of the input.
        dtype: Of the input and the output.
        device: Kind of the device that computes.
        is_first: Whether the layer runs for the first time.

    Returns:
        Bytes beside the input, the output among them.
    """
    kind = type(layer).__name__
    if kind not in ("Linear8bitLt", "Linear4bit"):
        return 0
    columns, rows = int(layer.in_features), int(layer.out_features)
    numbers = columns * rows
    output = tokens * rows * dtype.itemsize
    if kind == "Linear4bit":
        if device == "cpu" and repacks_weights():
            return max(int(_REPACKING * numbers) if is_first else 0, output)
        # The weight in full, the scales of its blocks before it; then the product.
        return numbers * dtype.itemsize + numbers // _BLOCK * _FLOAT32 + output
    # As float16, where large values are marked, then scaled and rounded as float32.
    quantizing = tokens * columns * (2 + 1 + 4 + 4)
    # The integers of the input, and the product as integers.
    multiplying = tokens * (columns + 4 * rows)
    if device == "cpu" and not multiplies_integers():
        # bitsandbytes multiplies in float32 here: both sides as such, and the product.
        multiplying = tokens * (5 * columns + 4 * rows) + 4 * numbers
    # The product as integers and as float32, its scales spread over it, and it scaled.
    scaling = tokens * (columns + 16 * rows)
    return max(quantizing, multiplying, scaling)
