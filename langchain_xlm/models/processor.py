"""What this machine's processor computes natively."""

from __future__ import annotations

import functools
import platform
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    import torch

__all__ = [
    "IntegerProduct",
    "computes",
    "computes_bfloat16",
    "computes_int8",
    "has_wide_vectors",
    "integer_product",
    "is_arm",
    "packs",
    "packs_integers",
]

IntegerProduct = Literal["exact", "pairwise"]
"""How a processor adds up products of 8-bit integers: see `integer_product`."""


def computes_bfloat16() -> bool:
    """Tell whether the processor multiplies matrices of bfloat16 itself.

    AVX512-BF16 and AMX do (AMD since Zen 4, Intel since Sapphire Rapids); so do Arm processors
    with the bf16 extension. Others imitate it in float32, which is slower than float32.

    Returns:
        Whether it does.
    """
    import torch

    if is_arm():
        # Arm's kernels are compiled in only with their own library; it asks for the extension.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return _asks("_is_avx512_bf16_supported") or _has_amx()


def computes_int8() -> bool:
    """Tell whether torch multiplies matrices of 8-bit integers faster than those of float32 here.

    Returns:
        Whether `integer_product` names a way.
    """
    return integer_product() is not None


@functools.cache
def integer_product() -> IntegerProduct | None:
    """Tell how the processor multiplies matrices of 8-bit integers.

    Returns:
        `"exact"` where it has units for it (VNNI, AMX): products are added in 32 bits.
        `"pairwise"` with AVX2 or AVX-512 alone: two neighbouring products are added in 16 bits,
        which end at 32,767, before they go into 32 bits. None for all else; also for Arm, where
        the way that uses this has not been measured.
    """
    import torch

    if is_arm():
        return None
    if _asks("_is_vnni_supported") or _has_amx():
        return "exact"
    wide = torch.backends.cpu.get_cpu_capability() in ("AVX2", "AVX512")
    return "pairwise" if wide and packs_integers() else None


def has_wide_vectors() -> bool:
    """Tell whether the processor has vectors of 512 bits (AVX-512), and torch uses them.

    Returns:
        Whether it does.
    """
    import torch

    return torch.backends.cpu.get_cpu_capability() == "AVX512"


def packs(dtype: torch.dtype) -> bool:
    """Tell whether oneDNN multiplies weights of a dtype in an order of its own here.

    Args:
        dtype: Of weights and inputs.

    Returns:
        Whether it is float32, or bfloat16 that the processor computes natively, and torch has the
        operation; not for Arm, where it has not been measured.
    """
    import torch

    native = dtype == torch.float32 or (dtype == torch.bfloat16 and computes_bfloat16())
    return native and _has_onednn(torch.ops.mkldnn, "_linear_pointwise")


def packs_integers() -> bool:
    """Tell whether oneDNN multiplies 8-bit weights in an order of its own here.

    For 512 tokens it is 6 to 13% quicker than a plain product, and has its sums in float32 at once
    (one Zen 5 core, torch 2.13).

    Returns:
        Whether it does; not for Arm, where it has not been measured.
    """
    import torch

    return _has_onednn(torch.ops.onednn, "qlinear_pointwise")


def computes(dtype: str) -> bool:
    """Tell whether the processor multiplies matrices of a dtype itself.

    Args:
        dtype: `"float32"`, `"bfloat16"` or `"float16"`.

    Returns:
        Whether it does, as oneDNN says of float16.
    """
    import torch

    if dtype == "float16":
        return bool(torch.ops.mkldnn._is_mkldnn_fp16_supported())
    return dtype == "float32" or computes_bfloat16()


def is_arm() -> bool:
    """Tell whether this is an Arm processor.

    Returns:
        Whether it is.
    """
    return platform.machine().lower() in ("arm64", "aarch64")


def _has_onednn(operations: object, name: str) -> bool:
    import torch

    return torch._C._has_mkldnn and hasattr(operations, name) and not is_arm()


def _has_amx() -> bool:
    return _asks("_is_amx_tile_supported")


def _asks(name: str) -> bool:
    import torch

    question = getattr(torch.cpu, name, None)  # not in every version of torch
    return question is not None and bool(question())
