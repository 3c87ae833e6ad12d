"""What a model needs beside its weights while it computes, counted without computing."""

from __future__ import annotations

import weakref
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

# Imported where a plan is made, and with it torch.
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from langchain_xlm.models.placement import repacks_weights
from langchain_xlm.models.skeleton import Skeleton

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["Load", "RunBytes", "count_quantized_bytes", "count_run_bytes"]

# Copies of the scores of the next token that `generate` holds at once, as float32: the scores,
# and what the search makes of them.
_SCORE_COPIES = {False: 2, True: 4}


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
        activations: The most that intermediate results take at one time.
        cache: Keys and values of what was read and written, at the end of generation.
    """

    activations: int
    cache: int


def count_run_bytes(skeleton: Skeleton, load: Load) -> RunBytes:
    """Run a model without numbers, and count what its operations would hold at the same time.

    Args:
        skeleton: The model, not quantized; of the dtype that it computes in.
        load: What it is given.

    Returns:
        Bytes. What single operations take for themselves inside is not seen.
    """
    model = _traceable(skeleton.model)
    ids = torch.zeros(load.batch, load.length, dtype=torch.long, device="meta")
    if not load.new_tokens:
        return RunBytes(_peak(model, input_ids=ids, attention_mask=torch.ones_like(ids)), 0)
    encoder: Any = model.get_encoder()
    reading = _peak(encoder, input_ids=ids, attention_mask=torch.ones_like(ids))
    rows = load.batch * load.beams
    width = skeleton.dtype.itemsize * _width(model.config)
    step = {
        "encoder_outputs": _encoded(model, rows, load.length, skeleton.dtype),
        "decoder_input_ids": torch.zeros(rows, 1, dtype=torch.long, device="meta"),
    }
    writing = _peak(model, **step, use_cache=False)
    scores = 4 * rows * model.config.get_text_config(decoder=True).vocab_size
    writing += rows * load.length * width + _SCORE_COPIES[load.beams > 1] * scores
    return RunBytes(max(reading, writing), _cache_bytes(model, step, load))


def count_quantized_bytes(skeleton: Skeleton, load: Load, *, device: str) -> int:
    """Count what quantized layers take inside of one product.

    In 8 bits that is the input as float16 and as integers, and the product as integers and as
    float16; in 4 bits the weights of one layer in full, except on CPUs that multiply packed ones.

    Args:
        skeleton: The model, quantized or not.
        load: What it is given.
        device: Kind of the device that computes.

    Returns:
        The bytes of the largest layer; 0 for a model that is not quantized.
    """
    largest = 0
    tokens = load.batch * load.length
    model: Any = skeleton.model
    for layer in model.modules():
        kind = type(layer).__name__
        if kind == "Linear8bitLt":
            inside = tokens * (3 * layer.in_features + 6 * layer.out_features)
        elif kind == "Linear4bit" and not (device == "cpu" and repacks_weights()):
            inside = layer.in_features * layer.out_features * skeleton.dtype.itemsize
        else:
            continue
        largest = max(largest, inside)
    return largest


def _traceable(model: Any) -> Any:
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
        return XLMRobertaModel(config, add_pooling_layer=False).to(model.dtype).eval()


def _width(config: PreTrainedConfig) -> int:
    reader = getattr(config, "encoder", config)
    return int(getattr(reader, "d_model", None) or reader.hidden_size)


def _encoded(model: Any, rows: int, length: int, dtype: torch.dtype) -> Any:
    from transformers.modeling_outputs import BaseModelOutput

    states = torch.empty(rows, length, _width(model.config), dtype=dtype, device="meta")
    return BaseModelOutput(last_hidden_state=states)


def _cache_bytes(model: Any, step: dict[str, Any], load: Load) -> int:
    """Keys and values after the last step, from those of the first."""
    with torch.no_grad(), _LiveBytes(model):
        cache = model(**step, use_cache=True).past_key_values
    read, written = (
        [layer.keys.nbytes + layer.values.nbytes for layer in part.layers]
        for part in (cache.cross_attention_cache, cache.self_attention_cache)
    )
    # One layer is copied when it grows.
    return int(sum(read) + load.new_tokens * (sum(written) + max(written)))


def _peak(model: Any, **inputs: Any) -> int:
    with torch.no_grad(), _LiveBytes(model) as live:
        model(**inputs)
    return int(live.peak)


class _LiveBytes(TorchDispatchMode):  # type: ignore[no-untyped-call]
    """Counts the storages that the operations inside it make, as long as they live."""

    def __init__(self, model: torch.nn.Module) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.peak = self._now = 0
        # Operations return views of the weights as well, which are counted elsewhere.
        held = (*model.parameters(), *model.buffers())
        self._alive = {each.untyped_storage()._cdata for each in held}

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
        self._now += size
        self.peak = max(self.peak, self._now)
        weakref.finalize(storage, self._remove, key, size)

    def _remove(self, key: int, size: int) -> None:
        self._alive.discard(key)
        self._now -= size
