"""The model that would be loaded, with shapes and dtypes but without a single number."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import ModelLoadError
from langchain_xlm.models import quantization
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.families import Family
from langchain_xlm.models.headers import SAVED_AS
from langchain_xlm.models.layer_bytes import counted_bytes, kept_bytes, making_bytes
from langchain_xlm.models.processor import packs, packs_integers

if TYPE_CHECKING:
    import torch
    from transformers import BitsAndBytesConfig, PreTrainedConfig, PreTrainedModel
    from transformers.quantizers.base import HfQuantizer

    from langchain_xlm.models.int8_loading import RowwiseInt8Config

__all__ = ["Skeleton", "WeightBytes", "auto_class", "build_skeleton", "read_config"]

# Parts of a weight that are on their way at once while our own layers quantize it.
_IN_FLIGHT = 2


@dataclass(frozen=True, slots=True)
class WeightBytes:
    """What the weights of a loaded model take, by what they are.

    Attributes:
        quantized: Layers in 8 or 4 bits, their scales included.
        vocabulary: Matrices with a row for each piece of the vocabulary, their scales included.
            Only the package's own 8 bits quantize them.
        others: Everything else, in full: norms, biases, heads, layers left out by name.
    """

    quantized: int
    vocabulary: int
    others: int

    @property
    def total(self) -> int:
        """All of it."""
        return self.quantized + self.vocabulary + self.others


@dataclass(frozen=True, slots=True, eq=False)
class Skeleton:
    """A model on torch's meta device, placed nowhere.

    Attributes:
        model: The class that would be loaded, quantized layers in their place.
        quantizer: Of transformers; None where nothing is quantized.
        dtype: Of all that is not quantized.
        device: Kind of the device that would compute, such as `"cuda"`.
        left_out: Names of linear layers that stay in full, in a model that is quantized.
    """

    model: PreTrainedModel
    quantizer: HfQuantizer | None
    dtype: torch.dtype
    device: str
    left_out: tuple[str, ...]

    def weight_bytes(self) -> WeightBytes:
        """Count the bytes of every weight and buffer once, however many modules share it.

        Returns:
            The bytes.
        """
        rows = getattr(self.model.get_input_embeddings(), "num_embeddings", None)
        quantized = vocabulary = others = 0
        for _, owner, name, tensor in self._tensors():
            if name == "weight" and (size := kept_bytes(owner)) is not None:
                quantized += size
            elif _is_int8_vocabulary(owner) or (tensor.dim() == 2 and tensor.shape[0] == rows):
                vocabulary += tensor.nbytes
            else:
                others += tensor.nbytes
        return WeightBytes(quantized, vocabulary, others)

    def parameters(self) -> int:
        """Count the numbers that were learned.

        Returns:
            The numbers, those that modules share once.
        """
        shared = self.model.all_tied_weights_keys
        once = {shared.get(name, name): each for name, each in self.model.named_parameters()}
        return sum(each.numel() for each in once.values())

    def loading_bytes(self, saved_dtype: str) -> int:
        """Tell what the weights take at the highest point while they are read and quantized.

        transformers reads the weights in the order of their names. bitsandbytes takes each as a
        whole. The package's own layers take them in parts, but of files in another dtype each is
        first made whole in `dtype`. Where layers are packed for oneDNN, which is done one by one
        at the end, one is there twice. On a CPU, what stays as it is in the file is used where it
        lies there, and counts from the beginning. What is in no file is made last.

        Args:
            saved_dtype: Of the files, as safetensors names it.

        Returns:
            Bytes.
        """
        is_copied = saved_dtype != SAVED_AS.get(str(self.dtype))
        unsaved = set(self.model._keys_to_ignore_on_save or ())
        saved = self.model.state_dict(keep_vars=True).keys() - unsaved
        steps = [
            (
                (path not in saved, _in_order(path)),
                *self._step_bytes(owner, name, tensor, is_copied=is_copied),
            )
            for path, owner, name, tensor in self._tensors()
        ]
        is_mapped = self.device == "cpu" and not is_copied
        held = 0
        if is_mapped:
            held = sum(kept for (is_made, _), kept, making in steps if not (is_made or making))
        highest = 0
        for (is_made, _), kept, making in sorted(steps, key=lambda step: step[0]):
            held += kept if is_made or making or not is_mapped else 0
            highest = max(highest, held + making)
        return max(highest, held + self._packing_bytes(is_copied=is_copied))

    def _packing_bytes(self, *, is_copied: bool) -> int:
        """What the largest layer takes a second time while it is packed; 0 where none is."""
        kinds = {"Int8Linear"} if packs_integers() else set()
        if is_copied and self.device == "cpu" and packs(self.dtype):
            kinds.add("Linear")
        shared = set(self.model.all_tied_weights_keys.values())
        sizes = (
            tensor.nbytes
            for path, owner, name, tensor in self._tensors()
            if name == "weight" and type(owner).__name__ in kinds and path not in shared
        )
        return max(sizes, default=0)

    def _step_bytes(
        self, owner: Any, name: str, tensor: torch.Tensor, *, is_copied: bool
    ) -> tuple[int, int]:
        """What one tensor takes when it is loaded, and beside that while it is quantized."""
        from langchain_xlm.models.int8 import NUMBERS_AT_ONCE

        copy = tensor.numel() * self.dtype.itemsize if is_copied else 0
        if name == "weight" and type(owner).__name__ in ("Int8Linear", "Int8Embedding"):
            return tensor.nbytes, copy + _IN_FLIGHT * 4 * min(tensor.numel(), NUMBERS_AT_ONCE)
        kept = kept_bytes(owner) if name == "weight" else None
        if kept is None:
            return tensor.nbytes, counted_bytes(owner)
        making = making_bytes(owner, self.dtype, self.device)
        return kept, making + (copy if self.device == "cpu" else 0)

    def _tensors(self) -> Iterator[tuple[str, Any, str, torch.Tensor]]:
        """Each weight and buffer once: its path as it is saved, its module, its name there."""
        shared = self.model.all_tied_weights_keys
        kept_exact = self.model._get_dtype_plan(self.dtype)
        seen = set()
        for tensors in (self.model.named_parameters(), self.model.named_buffers()):
            for path, tensor in tensors:
                saved = shared.get(path, path)
                if saved in seen:
                    continue
                seen.add(saved)
                module, _, name = path.rpartition(".")
                if tensor.is_floating_point() and any(key in path for key in kept_exact):
                    tensor = tensor.float()  # noqa: PLW2901
                yield saved, self.model.get_submodule(module), name, tensor


def read_config(spec: LoadSpec) -> PreTrainedConfig:
    """Read a checkpoint's configuration as transformers does.

    Args:
        spec: The checkpoint, pinned.

    Returns:
        The configuration.

    Raises:
        ModelLoadError: transformers cannot read it.
    """
    from transformers import AutoConfig

    place = {"revision": spec.revision, "cache_dir": spec.cache_dir, "token": spec.token_value}
    try:
        config: PreTrainedConfig = AutoConfig.from_pretrained(
            str(spec.folder or spec.model),
            local_files_only=spec.folder is not None or spec.local_files_only,
            **({} if spec.folder else place),
        )
    except (OSError, ValueError, KeyError, TypeError) as error:
        reason = next(iter(str(error).strip().splitlines()), "no reason given")
        raise ModelLoadError(
            spec.model, f"its config.json could not be read ({type(error).__name__}: {reason})."
        ) from error
    if config.model_type == "xmod":
        # As the loader has it: the adapters of one language.
        config.default_language = config.default_language or next(iter(config.languages))
        config.languages = [config.default_language]
    return config


def build_skeleton(
    spec: LoadSpec, family: Family, config: PreTrainedConfig, *, dtype: torch.dtype, device: str
) -> Skeleton:
    """Build the model that a spec would load.

    Args:
        spec: What to load; its quantization is applied.
        family: The row of the family table.
        config: What `read_config` gave.
        dtype: Of all that is not quantized.
        device: Kind of the device that would compute, such as `"cuda"`.

    Returns:
        The model without its numbers.
    """
    import torch

    config = copy.deepcopy(config)
    saved = getattr(config, "quantization_config", None)
    kind = auto_class(spec.task)
    options: dict[str, Any] = {"dtype": dtype}
    if spec.task == "encoder" and family.has_pooler:
        options["add_pooling_layer"] = False
    with torch.device("meta"):
        model = kind.from_config(config, **options)
    model.eval()
    layers = [name for name, layer in model.named_modules() if type(layer) is torch.nn.Linear]
    quantizer = None
    if saved is not None or spec.quantization is not None:
        quantization.import_bitsandbytes()
        settings = saved or quantization.quantization_settings(
            spec, config, kind, dtype=dtype, device=device
        )
        quantizer = _quantizer(settings)
        quantizer.preprocess_model(model=model, dtype=dtype, device_map=None)
        layers = [name for name in layers if type(model.get_submodule(name)) is torch.nn.Linear]
    return Skeleton(model, quantizer, dtype, device, tuple(layers) if quantizer else ())


def auto_class(task: Task) -> Any:
    """Name the class of transformers that loads models for a task.

    Args:
        task: What the model is for.

    Returns:
        The auto class.
    """
    import transformers

    if task == "seq2seq":
        return transformers.AutoModelForSeq2SeqLM
    if task == "encoder":
        return transformers.AutoModel
    return transformers.AutoModelForSequenceClassification


def _quantizer(settings: BitsAndBytesConfig | RowwiseInt8Config | dict[str, Any]) -> HfQuantizer:
    from transformers.quantizers.auto import AutoHfQuantizer

    # Layers are counted by their shapes, which they keep only when they are quantized from full.
    quantizer: HfQuantizer = AutoHfQuantizer.from_config(settings, pre_quantized=False)
    return quantizer


def _in_order(name: str) -> list[tuple[int, int, str]]:
    """A key that sorts the names of weights as transformers reads them: layer 2 before layer 11."""
    return [(0, int(one), "") if one.isdigit() else (1, 0, one) for one in name.split(".")]


def _is_int8_vocabulary(layer: Any) -> bool:
    return type(layer).__name__ == "Int8Embedding"
