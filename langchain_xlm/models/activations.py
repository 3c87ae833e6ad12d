"""What a model needs beside its weights while it computes, counted without computing."""

from __future__ import annotations

import weakref
from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

# Imported where a plan is made, and with it torch.
import torch
from torch.overrides import TorchFunctionMode
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves
from transformers.modeling_outputs import BaseModelOutput

from langchain_xlm.models.layer_bytes import product_bytes
from langchain_xlm.models.quantization import ROWWISE_METHOD
from langchain_xlm.models.skeleton import Skeleton

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["Load", "RunBytes", "count_run_bytes"]

# Copies of the scores of the next token that `generate` holds at once, as float32, beside those of
# the model, while the second of two rules for scores works: the scores, their logarithms where
# beams are searched, what the first rule made, and a copy and the result of the second.
_SCORE_COPIES = {False: 4, True: 5}


@dataclass(frozen=True, slots=True)
class Load:
    """What is run at once.

    Attributes:
        batch: Texts.
        length: Tokens of each.
        new_tokens: Tokens written for each; 0 for a model that writes none.
        beams: Continuations kept in mind for each.
    """

    batch: int
    length: int
    new_tokens: int
    beams: int


@dataclass(frozen=True, slots=True)
class RunBytes:
    """What a run needs beside the weights.

    Attributes:
        activations: What intermediate results take at the highest point, beside the cache.
        cache: Keys and values of what was read and written, at the end of generation.
    """

    activations: int
    cache: int


def count_run_bytes(skeleton: Skeleton, load: Load, quantized: Skeleton | None = None) -> RunBytes:
    """Run a model without numbers, and count what its operations would hold at the same time.

    Args:
        skeleton: The model, not quantized; of the dtype that it computes in.
        load: What it is given.
        quantized: The same model quantized, where that is what runs.

    Returns:
        Bytes. What single operations take for themselves inside is not seen, except of quantized
        layers.
    """
    model = _traceable(skeleton.model)
    if quantized is not None and _is_rowwise(quantized):
        # These layers are made of torch's own operations, so that they can be followed as well.
        model = _traceable(quantized.model, quantized)
        quantized = None
    trace = _Trace(model, quantized)
    ids = torch.zeros(load.batch, load.length, dtype=torch.long, device="meta")
    mask = torch.ones_like(ids)
    if not load.new_tokens:
        return RunBytes(trace.run(model, input_ids=ids, attention_mask=mask).peak, 0)
    reading = trace.run(model.get_encoder(), input_ids=ids, attention_mask=mask).peak
    rows = load.batch * load.beams
    states = torch.empty(
        rows, load.length, _width(model.config), dtype=skeleton.dtype, device="meta"
    )
    step = {
        "encoder_outputs": BaseModelOutput(last_hidden_state=states),
        "decoder_input_ids": torch.zeros(rows, 1, dtype=torch.long, device="meta"),
    }
    # The first step fills the cache with what was read, for every beam.
    first = trace.run(model, states, **step, use_cache=True)
    past = first.output.past_key_values
    cache = _cache_bytes(past, load.new_tokens)
    trace.is_first = False
    writing = trace.run(model, states, *_tensors(past), **step, past_key_values=past)
    choosing = writing.left + _SCORE_COPIES[load.beams > 1] * 4 * writing.output.logits.numel()
    # Nothing is in the cache yet while the encoder reads.
    beside = states.nbytes + max(first.peak - cache, writing.peak, choosing)
    return RunBytes(max(reading - cache, beside), cache)


def _is_rowwise(skeleton: Skeleton) -> bool:
    quantizer: Any = skeleton.quantizer
    return bool(quantizer.quantization_config.quant_method == ROWWISE_METHOD)


def _traceable(model: Any, quantized: Skeleton | None = None) -> Any:
    """The model, or for X-MOD, which sorts texts by language as it runs, the XLM-R of its size."""
    if model.config.model_type != "xmod":
        return model
    from transformers import XLMRobertaConfig, XLMRobertaModel

    config = XLMRobertaConfig(
        **{
            name: value
            for name, value in model.config.to_dict().items()
            if name not in ("model_type", "architectures", "dtype")
        }
    )
    with torch.device("meta"):
        plain = XLMRobertaModel(config, add_pooling_layer=False).to(model.dtype).eval()
    if quantized is not None and quantized.quantizer is not None:
        quantized.quantizer.preprocess_model(model=plain, dtype=quantized.dtype, device_map=None)
    return plain


def _width(config: PreTrainedConfig) -> int:
    reader = getattr(config, "encoder", config)
    return int(getattr(reader, "d_model", None) or reader.hidden_size)


def _cache_bytes(past: Any, new_tokens: int) -> int:
    """Keys and values after the last step, from those of the first."""
    read, written = (
        [layer.keys.nbytes + layer.values.nbytes for layer in part.layers]
        for part in (past.cross_attention_cache, past.self_attention_cache)
    )
    # One layer is copied when it grows.
    return int(sum(read) + new_tokens * (sum(written) + max(written)))


def _tensors(past: Any) -> Iterator[torch.Tensor]:
    for part in (past.cross_attention_cache, past.self_attention_cache):
        for layer in part.layers:
            yield from (layer.keys, layer.values)


@dataclass(frozen=True, slots=True)
class _Ran:
    """Bytes alive at the highest point of a run and after it, without what was there before."""

    peak: int
    left: int
    output: Any


class _Trace:
    """Follows a model without numbers, and knows what its layers take where they are quantized."""

    def __init__(self, model: Any, quantized: Skeleton | None) -> None:
        self.is_first = True
        self._model = model
        self._live: _LiveBytes | None = None
        names = {} if quantized is None else dict(quantized.model.named_modules())
        for name, layer in model.named_modules():
            if quantized is not None and name in names and type(layer) is torch.nn.Linear:
                layer.register_forward_pre_hook(partial(self._note, quantized, names[name]))

    def run(self, part: Any, *held: torch.Tensor, **inputs: Any) -> _Ran:
        """Run a part; `held` are the tensors that it is given beside its ids."""
        with torch.no_grad(), _FusedAttention(), _LiveBytes(self._model, *held) as self._live:
            output = part(**inputs)
        return _Ran(self._live.peak, self._live.now, output)

    def _note(self, skeleton: Skeleton, layer: Any, _: Any, inputs: tuple[torch.Tensor]) -> None:
        assert self._live is not None
        (states,) = inputs
        tokens = states.numel() // states.shape[-1]
        self._live.note(
            product_bytes(layer, tokens, states.dtype, skeleton.device, is_first=self.is_first)
        )


class _FusedAttention(TorchFunctionMode):
    """Attention as devices compute it, without the matrix of every token against every other.

    torch spells it out where there are no numbers.
    """

    def __torch_function__(
        self, function: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if function is torch.nn.functional.scaled_dot_product_attention:
            named = dict(zip(("query", "key", "value"), args, strict=False)) | (kwargs or {})
            query, value = named["query"], named["value"]
            return query.new_empty((*query.shape[:-1], value.shape[-1]))
        return function(*args, **(kwargs or {}))


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that the operations inside it make, as long as they live."""

    def __init__(self, model: torch.nn.Module, *held: torch.Tensor) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self.now = 0
        # Operations return views of weights and inputs as well, which are counted elsewhere.
        others = (*model.parameters(), *model.buffers(), *held)
        self._alive = {each.untyped_storage()._cdata for each in others}

    def note(self, size: int) -> None:
        """Count what an operation holds for a moment, unseen."""
        self.peak = max(self.peak, self.now + size)

    def __torch_dispatch__(
        self, operation: Any, types: Any, args: Any = (), kwargs: Any = None
    ) -> Any:
        if operation is torch.ops.aten._local_scalar_dense.default:
            return 0  # a question to the numbers, such as whether a mask is all ones: no
        result = operation(*args, **(kwargs or {}))
        for each in tree_leaves(result):
            if isinstance(each, torch.Tensor):
                self._add(each.untyped_storage())
        return result

    def _add(self, storage: torch.UntypedStorage) -> None:
        key, size = storage._cdata, storage.nbytes()
        if key in self._alive:
            return
        self._alive.add(key)
        self.now += size
        self.peak = max(self.peak, self.now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self.now -= size
