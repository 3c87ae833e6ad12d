"""What the devices of this machine can do, each thing really tried on a tiny model."""

from __future__ import annotations

import importlib.util
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from langchain_xlm.models import quantization, values
from langchain_xlm.models.processor import computes, computes_int8, integer_product
from langchain_xlm.models.quiet import quiet_transformers

if TYPE_CHECKING:
    from transformers import XLMRobertaConfig

__all__ = ["Trial", "try_device"]

_DTYPES = ("float32", "bfloat16", "float16")
# The product of a layer in 4 bits is off by about a tenth of its size, in 8 bits by a hundredth.
_TOLERANCE = {"8bit": 0.1, "4bit": 0.4}
_WIDTH = 64
_SLOW = "imitated by this processor: much slower than float32"
# Results of the tiny model are about 1 in size; in 16 bits they are off by a hundredth.
_NEAR = 0.1
# Whatever torch, transformers and bitsandbytes raise for what they cannot do.
_FAILURES = (
    ArithmeticError,
    AssertionError,
    AttributeError,
    ImportError,
    LookupError,
    OSError,
    RuntimeError,
    TypeError,
    ValueError,
)


@dataclass(frozen=True, slots=True)
class Trial:
    """One thing that was tried.

    Attributes:
        device: Where.
        kind: `"dtype"`, `"attention"` or `"quantization"`.
        name: What, as the loading field of that kind takes it.
        works: Whether it gave a right result.
        reason: Why it does not work; empty where it does.
        by: Which library does it, where that is a question.
        remark: What to know of it where it works.
    """

    device: str
    kind: str
    name: str
    works: bool
    reason: str = ""
    by: str = ""
    remark: str = ""


def try_device(device: str) -> tuple[Trial, ...]:
    """Try every dtype, attention and quantization on a device.

    Args:
        device: Its name, such as `"cuda:0"`.

    Returns:
        The trials, in the order of the loading fields.
    """
    with quiet_transformers(), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return tuple(_trials(device))


def _trials(device: str) -> Iterator[Trial]:
    import torch

    for name in _DTYPES:
        found = _tried(device, "dtype", name, partial(_run, device, name, "eager"))
        # A processor without units for 16 bits takes many times as long as in 32.
        is_slow = device == "cpu" and name != "float32" and not computes(name)
        yield replace(found, remark=_SLOW) if found.works and is_slow else found
    half = "float32" if device == "cpu" else "float16"
    # flex_attention compiles itself, which takes a minute on a CPU and is not what is in question.
    with torch.compiler.set_stance("force_eager" if device == "cpu" else "default"):
        for name in values.ATTENTION:
            yield _tried(device, "attention", name, partial(_run, device, half, name))
    for name in _TOLERANCE:
        found = _tried(device, "quantization", name, partial(_multiply, device, name))
        if found.works:
            found = replace(found, by=_quantizers(device, name))
            if device == "cpu" and name == "8bit" and not quantization.multiplies_integers():
                found = replace(found, remark="saves memory, not time: multiplied in float32")
        yield found


def _tried(device: str, kind: str, name: str, work: Callable[[], str]) -> Trial:
    try:
        fault = work()
    except _FAILURES as error:
        fault = _sentence(error)
    return Trial(device, kind, name, not fault, fault)


def _run(device: str, dtype: str, attention: str) -> str:
    """Run a tiny encoder; say what is wrong with its result."""
    import torch
    from transformers import XLMRobertaModel

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exact = XLMRobertaModel(_config("eager"), add_pooling_layer=False).eval()
    model: Any = XLMRobertaModel(_config(attention), add_pooling_layer=False).eval()
    model.load_state_dict(exact.state_dict())
    model = model.to(device=device, dtype=getattr(torch, dtype))
    ids = torch.arange(5, 5 + 2 * 8).view(2, 8)
    with torch.inference_mode():
        wanted = exact(input_ids=ids).last_hidden_state
        found = model(input_ids=ids.to(device)).last_hidden_state.float().cpu()
    off = float((found - wanted).abs().max())
    return "" if off < _NEAR else f"the result is off by {off:.2g}"


def _config(attention: str) -> XLMRobertaConfig:
    from transformers import XLMRobertaConfig

    config = XLMRobertaConfig(
        vocab_size=_WIDTH,
        hidden_size=_WIDTH,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=_WIDTH,
        max_position_embeddings=_WIDTH,
    )
    config._attn_implementation = attention
    return config


def _multiply(device: str, bits: str) -> str:
    """Multiply with a quantized layer; say what is wrong with its product."""
    import torch

    quantization.import_bitsandbytes()
    import bitsandbytes

    library: Any = bitsandbytes.nn
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exact = torch.nn.Linear(_WIDTH, _WIDTH, bias=False)
        inputs = torch.randn(8, _WIDTH)
    layer: Any
    if bits == "8bit":
        layer = library.Linear8bitLt(_WIDTH, _WIDTH, bias=False, has_fp16_weights=False)
    else:
        layer = library.Linear4bit(
            _WIDTH, _WIDTH, bias=False, quant_type="nf4", compute_dtype=torch.float32
        )
    layer.load_state_dict(exact.state_dict())
    with torch.inference_mode():
        wanted = exact(inputs)
        found = layer.to(device).eval()(inputs.to(device)).float().cpu()
    off = float((found - wanted).norm() / wanted.norm())
    return "" if off < _TOLERANCE[bits] else f"the product is off by {off:.0%}"


def _quantizers(device: str, bits: str) -> str:
    """Which libraries quantize here; our own layers are tried where they would be used."""
    if bits != "8bit" or device != "cpu":
        return "bitsandbytes"
    found = []
    if importlib.util.find_spec("ctranslate2") is not None:
        found.append("CTranslate2 for what it converts")
    if computes_int8() and _multiplies_integers():
        kind = integer_product()
        found.append(f"row-wise integers for models that read ({kind} sums)")
    others = " for all else" if found else ""
    return ", ".join([*found, f"bitsandbytes{others}"])


def _multiplies_integers() -> bool:
    import torch

    from langchain_xlm.models.int8 import quantized_linear

    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        exact, inputs = torch.nn.Linear(_WIDTH, _WIDTH), torch.randn(8, _WIDTH)
    with torch.inference_mode():
        wanted = exact(inputs)
        found = quantized_linear(exact)(inputs)
    return float((found - wanted).norm() / wanted.norm()) < _TOLERANCE["8bit"]


def _sentence(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    # transformers puts its own words around the reason.
    return lines[0].rpartition("following error: ")[2] if lines else type(error).__name__
