"""Texts to vectors."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
from numpy.typing import NDArray

from langchain_xlm.engines.recipe import PoolingMode, Purpose, Recipe, read_recipe
from langchain_xlm.errors import (
    ConfigurationError,
    IncompatibleModelError,
    InputError,
    InputTooLongError,
)
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.files import find_file, read_json, read_json_value
from langchain_xlm.runtime.batching import Unit
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.runtime.pool import SharedModel
from langchain_xlm.text.cleaning import check_text
from langchain_xlm.text.detection import detect_language
from langchain_xlm.text.segments import pack, split_sentences, split_to_fit

if TYPE_CHECKING:
    import torch

logger = logging.getLogger(__name__)

Overflow = Literal["pool", "truncate", "error"]
Vectors = NDArray[np.float32]

# How many texts are tokenized at a time.
_CHUNK = 64
# Budgets of one batch in tokens. On a CPU a small rectangle stays in the caches: 512 measured
# best on two Zen 4 cores, 8192 took twice as long. A GPU wants to be filled.
_BATCH_TOKENS_CPU = 512
_BATCH_TOKENS_GPU = 16_384
# Enough of a text to tell its language, which only chooses the rules of sentence ends.
_DETECTION_CHARACTERS = 2_000


@dataclass(frozen=True, slots=True)
class EncoderInfo:
    """What a loaded encoder is.

    Attributes:
        recipe: How it turns token states into a vector.
        window: Longest input in tokens, special tokens included.
        width: Length of its vectors.
        revision: Commit or version of the checkpoint; None for a local folder.
        dtype: Name of the type that its weights compute in.
    """

    recipe: Recipe
    window: int
    width: int
    revision: str | None
    dtype: str


@dataclass(frozen=True, slots=True)
class Embedded:
    """The vectors of some texts.

    Attributes:
        vectors: `(texts, width)`, float32; rows of length 1 where the recipe normalizes.
        tokens: Length of each text in tokens, special tokens and prompts included.
        pieces: How many pieces each text was cut into; 1 inside the window.
    """

    vectors: Vectors
    tokens: tuple[int, ...]
    pieces: tuple[int, ...]


@dataclass(frozen=True, slots=True)
class _Request:
    texts: Sequence[str]
    purpose: Purpose
    prompt: str | None
    pooling: tuple[PoolingMode, ...] | None
    overflow: Overflow


@dataclass(frozen=True, slots=True)
class _Row:
    """A text or a piece of one: the text's place, its tokens, how many belong to the prompt."""

    index: int
    ids: list[int]
    skipped: int
    share: float


class Encoder:
    """An encoder that is loaded on first use and shared by equal specifications."""

    def __init__(self, spec: LoadSpec) -> None:
        """Describe an encoder; nothing is loaded yet.

        Args:
            spec: What to load and how; its task must be "encoder".
        """
        self.spec = spec
        self._model = SharedModel(spec, EncoderSession)
        self._info: EncoderInfo | None = None

    def info(self) -> Flow[EncoderInfo]:
        """Return what the encoder is, loading it first where needed.

        Yields:
            The futures that it waits for.

        Returns:
            What the encoder is.
        """
        if self._info is None:
            self._info = yield self._model.call(lambda session: session.info)
        return self._info

    def embed(
        self,
        texts: Sequence[str],
        *,
        purpose: Purpose = "document",
        prompt: str | None = None,
        pooling: tuple[PoolingMode, ...] | None = None,
        normalize: bool | None = None,
        dimensions: int | None = None,
        overflow: Overflow = "pool",
        progress: Callable[[float], None] | None = None,
    ) -> Flow[Embedded]:
        """Turn texts into vectors.

        Args:
            texts: The texts; blank ones are allowed.
            purpose: Which of the checkpoint's prompts goes in front.
            prompt: A prompt to use instead; "" uses none.
            pooling: Ways of pooling to use instead of the checkpoint's.
            normalize: Whether to scale vectors to length 1; None does as the checkpoint says.
            dimensions: Keep this many leading values and scale to length 1 again; for
                checkpoints trained so that a prefix is a vector too (Kusupati et al. 2022,
                https://arxiv.org/abs/2205.13147).
            overflow: What to do with a text longer than the window: average its pieces'
                vectors weighted by their tokens, cut it, or raise.
            progress: Called on the model's thread with the number of texts finished since the
                last call.

        Yields:
            The futures that it waits for.

        Returns:
            Vectors, lengths and pieces, in the order of the texts.

        Raises:
            ConfigurationError: More dimensions were asked for than the vectors have.
            InputTooLongError: A text exceeds the window and `overflow` is "error".
            InputError: A text is not a string or cannot be encoded, or the prompt alone fills
                the window.
        """
        if isinstance(texts, str):
            raise InputError("Texts must be a list of strings, not one string: wrap it in a list.")
        checked = [
            check_text(text, what=f"text {index}", allow_blank=True)
            for index, text in enumerate(texts)
        ]
        info: EncoderInfo = yield from self.info()
        if dimensions is not None and not 0 < dimensions <= info.width:
            raise ConfigurationError(
                f"dimensions={dimensions} is out of range: the vectors of {self.spec.model!r} "
                f"have {info.width}; give a number from 1 to {info.width}, or None."
            )
        request = _Request(checked, purpose, prompt, pooling, overflow)
        parts: list[tuple[_Row, Vectors]] = yield self._model.submit(
            request,
            progress=None
            if progress is None
            else lambda units: progress(sum(unit.payload.share for unit in units)),
        )
        return _assemble(
            parts,
            count=len(checked),
            width=len(parts[0][1]) if parts else info.width,
            normalize=info.recipe.normalize if normalize is None else normalize,
            dimensions=dimensions,
        )


def cosines(left: Vectors, right: Vectors) -> Vectors:
    """Return the cosine of each row of one matrix with the same row of the other.

    Args:
        left: `(rows, width)`, float32.
        right: `(rows, width)`, float32.

    Returns:
        `(rows,)`, float32, from -1 to 1; 0 where a row is all zeros.
    """
    product = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    dots = np.einsum("ij,ij->i", left, right)
    result: Vectors = np.clip(dots / np.where(product > 0, product, 1), -1, 1).astype(np.float32)
    return result


def _assemble(
    parts: Sequence[tuple[_Row, Vectors]],
    *,
    count: int,
    width: int,
    normalize: bool,
    dimensions: int | None,
) -> Embedded:
    """Average the pieces of each text, weighted by their tokens, and finish the vectors."""
    sums = np.zeros((count, width), dtype=np.float32)
    tokens = [0] * count
    pieces = [0] * count
    for row, vector in parts:
        # The one piece of a text within the window passes through unchanged.
        sums[row.index] += vector if row.share == 1 else vector * len(row.ids)
        tokens[row.index] += len(row.ids)
        pieces[row.index] += 1
    many = np.array(pieces) > 1
    sums[many] /= np.array(tokens, dtype=np.float32)[many, None]
    if dimensions is not None:
        sums = sums[:, :dimensions]
    if normalize or dimensions is not None:
        sums = sums / np.maximum(np.linalg.norm(sums, axis=1, keepdims=True), 1e-12)
    if many.any():
        logger.warning(
            "%d of %d texts are longer than the window: each is the mean of its pieces, %d in all.",
            many.sum(),
            count,
            int(np.array(pieces)[many].sum()),
        )
    return Embedded(sums, tuple(tokens), tuple(pieces))


class EncoderSession:
    """An encoder in memory; lives on its worker's thread."""

    def __init__(self, spec: LoadSpec) -> None:
        """Load the encoder and its recipe.

        Args:
            spec: What to load and how.
        """
        from langchain_xlm.models.loading import load_model

        recipe = load_recipe(spec)
        loaded = load_model(spec)
        self._loaded = loaded
        self._dense = _load_dense(spec, recipe, loaded.device)
        on_cpu = loaded.device.type == "cpu"
        self.max_batch_tokens = _BATCH_TOKENS_CPU if on_cpu else _BATCH_TOKENS_GPU
        hidden = int(loaded.config.hidden_size)
        width = self._dense[-1][0].shape[0] if self._dense else hidden * len(recipe.pooling)
        self.info = EncoderInfo(
            recipe=recipe,
            window=min(recipe.window or loaded.window, loaded.window),
            width=width,
            revision=loaded.revision,
            dtype=str(loaded.model.dtype).removeprefix("torch."),
        )

    def prepare(self, request: _Request) -> Iterator[list[Unit[_Row]]]:
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
            units: list[Unit[_Row]] = []
            texts = request.texts[start : start + _CHUNK]
            for offset, ids in enumerate(self._tokenize([prompt + text for text in texts])):
                index = start + offset
                rows = [ids]
                if len(ids) > self.info.window:
                    rows = self._fit(texts[offset], prompt, index, len(ids), request.overflow)
                units.extend(
                    Unit(_Row(index, row, skipped, 1 / len(rows)), len(row), pooling)
                    for row in rows
                )
            yield units

    def run(self, units: Sequence[Unit[_Row]]) -> list[tuple[_Row, Vectors]]:
        """Encode one batch.

        Args:
            units: Rows with one way of pooling.

        Returns:
            For each row the row and its vector, float32, before normalization.
        """
        import torch

        from langchain_xlm.engines.pooling import pool

        rows = [unit.payload for unit in units]
        lengths = torch.tensor([len(row.ids) for row in rows])
        ids = torch.full((len(rows), int(lengths.max())), self._loaded.tokenizer.pad_token_id)
        for place, row in enumerate(rows):
            ids[place, : len(row.ids)] = torch.tensor(row.ids)
        mask = (torch.arange(ids.shape[1]) < lengths[:, None]).long()
        ids, mask = ids.to(self._loaded.device), mask.to(self._loaded.device)
        with torch.inference_mode():
            states = self._loaded.model(input_ids=ids, attention_mask=mask)[0]
            skipped = torch.tensor([row.skipped for row in rows])
            modes: tuple[PoolingMode, ...] = units[0].group  # type: ignore[assignment]
            vectors = pool(states, mask.to(states.device), modes, skipped=skipped)
            for weight, bias, activation in self._dense:
                vectors = activation(torch.nn.functional.linear(vectors, weight, bias))
        return list(zip(rows, vectors.float().cpu().numpy(), strict=True))

    def close(self) -> None:
        """Let go of the model."""
        del self._loaded, self._dense

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

        found = detect_language(text[:_DETECTION_CHARACTERS])
        sentences = split_sentences(text, found.tag if found else "en")
        fitting = split_to_fit(text, sentences, limit=window, count=count)
        pieces = pack(text, fitting, limit=window, count=count)
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
