"""What this machine's processor computes natively."""

from __future__ import annotations

import platform

__all__ = ["computes", "computes_bfloat16", "computes_int8"]


def computes_bfloat16() -> bool:
    """Tell whether the processor multiplies matrices of bfloat16 itself.

    AVX512-BF16 and AMX do (AMD since Zen 4, Intel since Sapphire Rapids); so do Arm processors
    with the bf16 extension. Others imitate it in float32, which is slower than float32.

    Returns:
        Whether it does.
    """
    import torch

    if _is_arm():
        # Arm's kernels are compiled in only with their own library; it asks for the extension.
        return bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())
    return _asks("_is_avx512_bf16_supported") or _has_amx()


def computes_int8() -> bool:
    """Tell whether the processor multiplies matrices of 8-bit integers itself (VNNI, AMX).

    Returns:
        Whether it does; False on Arm, where the way that uses this has not been measured.
    """
    return not _is_arm() and (_asks("_is_vnni_supported") or _has_amx())


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


def _has_amx() -> bool:
    return _asks("_is_amx_tile_supported")


def _asks(name: str) -> bool:
    import torch

    question = getattr(torch.cpu, name, None)  # not in every version of torch
    return question is not None and bool(question())


def _is_arm() -> bool:
    return platform.machine().lower() in ("arm64", "aarch64")
