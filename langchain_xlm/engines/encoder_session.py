"""An encoder in use: texts to rows of tokens, batches of rows to vectors."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from langchain_xlm.engines.recipe import PoolingMode, Purpose, Recipe, read_recipe
from langchain_xlm.engines.rows import cut_to_window
from langchain_xlm.errors import IncompatibleModelError, InputError, InputTooLongError
from langchain_xlm.models.backends import Backend
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.files import find_file, pin, read_json, read_json_value
from langchain_xlm.runtime.batching import Unit

if TYPE_CHECKING:
    import torch

Overflow = Literal["pool", "truncate", "error"]
Vectors = NDArray[np.float32]

# How many texts are tokenized at a time.
_CHUNK = 64


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What a loaded encoder is.

    Attributes:
        recipe: How it turns token states into a vector.
        window: Longest input in tokens, special tokens included.
        width: Length of its vectors.
        revision: Commit or version of the checkpoint; None for a local folder.
        dtype: Name of the type that its weights compute in.
        quantizer: What quantized it: `"CTranslate2"`, `"row-wise int8"`, `"bitsandbytes"`; None
            for no one.
        packed: Whether batches run without padding.
        backend: The library that runs it.
    """

    recipe: Recipe
    window: int
    width: int
    revision: str | None
    dtype: str
    quantizer: str | None = None
    packed: bool = False
    backend: Backend = "torch"


@dataclass(frozen=True, slots=True)
class EncodingRequest:
    """Some texts to encode; see `Encoder.embed` for the fields."""

    texts: Sequence[str]
    purpose: Purpose
    prompt: str | None
    pooling: tuple[PoolingMode, ...] | None
    overflow: Overflow


@dataclass(frozen=True, slots=True)
class EncodingRow:
    """A text or a piece of one: the text's place, its tokens, how many belong to the prompt."""

    index: int
    ids: list[int]
    skipped: int
    share: float


class EncoderSession:
    """An encoder in memory; lives on its worker's thread."""

    def __init__(self, spec: LoadSpec) -> None:
        """Load the encoder and its recipe.

        Args:
            spec: What to load and how.
        """
        from langchain_xlm.engines.encoder_opening import open_encoder
        from langchain_xlm.engines.states import batch_tokens

        # Recipe and weights of one commit, whatever happens on the hub in between.
        spec = pin(spec)
        recipe = load_recipe(spec)
        opened = open_encoder(spec)
        loaded = opened.loaded
        self._loaded = loaded
        self.memory_bytes = opened.memory_bytes
        self._reader = opened.reader
        self._dense = _load_dense(spec, recipe, opened.device)
        self.batch_multiple = self._reader.lanes
        self.max_batch_tokens = batch_tokens(opened.device, opened.dtype, lanes=self._reader.lanes)
        hidden = int(loaded.config.hidden_size)
        width = self._dense[-1][0].shape[0] if self._dense else hidden * len(recipe.pooling)
        self.info = EncoderInfo(
            recipe=recipe,
            window=min(recipe.window or loaded.window, loaded.window),
            width=width,
            revision=loaded.revision,
            dtype=opened.dtype,
            quantizer=opened.quantizer,
            packed=self._reader.packed,
            backend=opened.backend,
        )

    def prepare(self, request: EncodingRequest) -> Iterator[list[Unit[EncodingRow]]]:
        """Tokenize the texts, some at a time, and cut those longer than the window.

        Args:
            request: What to embed.

        Yields:
            Rows in the order of the texts.

        Raises:
            InputError: The prompt alone fills the window.
        """
        recipe = self.info.recipe
        saved = {"query": recipe.query_prompt, "document": recipe.document_prompt}
        prompt = saved[request.purpose] if request.prompt is None else request.prompt
        # The prompt's tokens end before the closing special token.
        prompt_tokens = len(self._tokenize([prompt])[0]) - 1 if prompt else 0
        if prompt_tokens + 2 > self.info.window:
            raise InputError(
                f"The prompt {prompt!r} has {prompt_tokens} tokens and leaves no room in the "
                f"window of {self.info.window}: give a shorter one."
            )
        skipped = 0 if recipe.include_prompt else prompt_tokens
        pooling = request.pooling or recipe.pooling
        for start in range(0, len(request.texts), _CHUNK):
            units: list[Unit[EncodingRow]] = []
            texts = request.texts[start : start + _CHUNK]
            for offset, ids in enumerate(self._tokenize([prompt + text for text in texts])):
                index = start + offset
                rows = [ids]
                if len(ids) > self.info.window:
                    rows = self._fit(texts[offset], prompt, index, len(ids), request.overflow)
                units.extend(
                    Unit(EncodingRow(index, row, skipped, 1 / len(rows)), len(row), pooling)
                    for row in rows
                )
            yield units

    def run(self, units: Sequence[Unit[EncodingRow]]) -> list[tuple[EncodingRow, Vectors]]:
        """Encode one batch.

        Args:
            units: Rows with one way of pooling.

        Returns:
            For each row the row and its vector, float32, before normalization.
        """
        import torch

        from langchain_xlm.engines.pooling import pool_texts

        rows = [unit.payload for unit in units]
        with torch.inference_mode():
            tokens = self._reader.read([row.ids for row in rows])
            skipped = torch.tensor([row.skipped for row in rows])
            modes: tuple[PoolingMode, ...] = units[0].group  # type: ignore[assignment]
            vectors = pool_texts(tokens.states, tokens.starts, tokens.ends, modes, skipped=skipped)
            for weight, bias, activation in self._dense:
                vectors = activation(torch.nn.functional.linear(vectors, weight, bias))
        return list(zip(rows, vectors.float().cpu().numpy(), strict=True))

    def rest(self) -> None:
        """Let go of the threads that would slow other models."""
        self._reader.rest()

    def close(self) -> None:
        """Let go of the model."""
        self._reader.close()
        del self._loaded, self._reader, self._dense

    def _tokenize(self, texts: Sequence[str]) -> list[list[int]]:
        if not texts:  # transformers' tokenizers fail on an empty list
            return []
        if self.info.recipe.lowercase:
            texts = [text.lower() for text in texts]
        encoded = self._loaded.tokenizer(
            list(texts), padding=False, truncation=False, return_attention_mask=False, verbose=False
        )
        ids: list[list[int]] = encoded["input_ids"]
        return ids

    def _fit(
        self, text: str, prompt: str, index: int, tokens: int, overflow: Overflow
    ) -> list[list[int]]:
        """Make rows that fit out of a text that does not."""
        window = self.info.window
        if overflow == "error":
            raise InputTooLongError(tokens=tokens, limit=window, index=index)
        if overflow == "truncate":
            whole = prompt + text
            if self.info.recipe.lowercase:
                whole = whole.lower()
            cut = self._loaded.tokenizer(whole, truncation=True, max_length=window, verbose=False)
            return [cut["input_ids"]]

        def count(parts: Sequence[str]) -> list[int]:
            return [len(ids) for ids in self._tokenize([prompt + part for part in parts])]

        pieces = cut_to_window(text, window, count)
        return self._tokenize([prompt + piece.text for piece in pieces])


def load_recipe(spec: LoadSpec) -> Recipe:
    """Read the recipe of a checkpoint from its files, without its weights.

    Args:
        spec: What to load and how.

    Returns:
        The recipe.
    """
    modules = read_json_value(spec, "modules.json")
    names = ["config_sentence_transformers.json", "sentence_bert_config.json"]
    for module in modules or ():
        folder = module.get("path", "")
        if folder:
            names.append(f"{folder}/config.json")
    files = {name: content for name in names if (content := read_json(spec, name)) is not None}
    return read_recipe(spec.model, modules=modules, files=files)


def _load_dense(
    spec: LoadSpec, recipe: Recipe, device: torch.device
) -> list[tuple[torch.Tensor, torch.Tensor | None, Any]]:
    """Load the linear layers behind the pooling as (weight, bias, activation), in float32."""
    if not recipe.dense:
        return []
    from importlib import import_module

    from safetensors.torch import load_file

    layers = []
    for layer in recipe.dense:
        path = find_file(spec, f"{layer.folder}/model.safetensors")
        if path is None:
            raise IncompatibleModelError(
                spec.model,
                task="an encoder",
                found=f"its layer {layer.folder!r} has no model.safetensors",
                advice="Save the checkpoint with a current sentence-transformers.",
            )
        tensors = load_file(path)
        home, _, name = layer.activation.rpartition(".")
        activation = getattr(import_module(home), name)()
        weight = tensors["linear.weight"].float().to(device)
        bias = tensors.get("linear.bias")
        layers.append((weight, None if bias is None else bias.float().to(device), activation))
    return layers
