"""Multilingual embeddings for LangChain."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from types import TracebackType
from typing import Any, Literal, Self, TypeVar

from langchain_core.embeddings import Embeddings
from pydantic import ConfigDict, Field, PrivateAttr

from langchain_xlm.engines.encoder import Embedded, Encoder, EncoderInfo, Overflow
from langchain_xlm.engines.recipe import PoolingMode, Purpose
from langchain_xlm.models.backends import TORCH
from langchain_xlm.models.config import LoadingFields
from langchain_xlm.models.files import checkpoint_fingerprint
from langchain_xlm.runtime.flow import Flow, run_flow, run_flow_async
from langchain_xlm.runtime.pool import unload_models

T = TypeVar("T")

# Raised whenever the way from text to vector changes, so that old cache entries are not mixed in.
_SCHEME = 1


class XLMEmbeddings(LoadingFields, Embeddings):
    """Vectors of texts in many languages: translations lie close together.

    Pooling, prompts, normalization and window come from the checkpoint's own files
    (sentence-transformers' layout), for well-known families from what their authors prescribe.
    Queries and documents get their own prompts. Text beyond the window is not lost: it is cut at
    sentence borders and the vectors of its pieces are averaged, weighted by their tokens.

    Instances with equal loading fields share one model, also with the tools. All methods may be
    called from many threads and tasks at once; calls that wait together share batches.

    Example:
        ```python
        from langchain_xlm import XLMEmbeddings

        embeddings = XLMEmbeddings()  # the bundled starter; no download
        vectors = embeddings.embed_documents(["Where is the station?", "Wo ist der Bahnhof?"])
        ```
    """

    model_config = ConfigDict(frozen=True)

    query_prompt: str | None = None
    """Put in front of queries; None takes the checkpoint's, "" none."""
    document_prompt: str | None = None
    """Put in front of documents; None takes the checkpoint's, "" none."""
    pooling: PoolingMode | None = None
    """How token vectors become one; None takes the checkpoint's."""
    normalize: bool | None = None
    """Whether vectors have length 1; None does as the checkpoint says."""
    dimensions: int | None = Field(default=None, gt=0)
    """Keep this many leading values, scaled to length 1 again; None keeps all. Only for
    checkpoints trained for it (Matryoshka representation learning)."""
    overflow: Overflow = "pool"
    """What to do with a text beyond the window: "pool" averages its pieces, "truncate" cuts it,
    "error" raises `InputTooLongError`."""
    show_progress: bool = False
    """Whether `embed_documents` shows a progress bar on standard error."""
    timeout_s: float | None = Field(default=None, gt=0)
    """Limit for one call, loading included, in seconds; None waits without limit."""

    _encoder: Encoder = PrivateAttr()

    def model_post_init(self, context: Any, /) -> None:
        """Check the loading fields; nothing is read yet."""
        super().model_post_init(context)
        self._encoder = Encoder(self.load_spec("encoder"))

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        """Turn documents into vectors, with the document prompt.

        Args:
            texts: The documents.

        Returns:
            One vector for each document, in order.
        """
        with self._progress(len(texts)) as progress:
            return _as_lists(self._run(self._embed(texts, "document", progress)))

    def embed_query(self, text: str) -> list[float]:
        """Turn a query into a vector, with the query prompt.

        Args:
            text: The query.

        Returns:
            Its vector.
        """
        return _as_lists(self._run(self._embed([text], "query")))[0]

    async def aembed_documents(self, texts: list[str]) -> list[list[float]]:
        """Do as `embed_documents` without blocking the event loop; cancelling drops the work.

        Args:
            texts: The documents.

        Returns:
            One vector for each document, in order.
        """
        with self._progress(len(texts)) as progress:
            return _as_lists(await self._arun(self._embed(texts, "document", progress)))

    async def aembed_query(self, text: str) -> list[float]:
        """Do as `embed_query` without blocking the event loop; cancelling drops the work.

        Args:
            text: The query.

        Returns:
            Its vector.
        """
        return _as_lists(await self._arun(self._embed([text], "query")))[0]

    def info(self) -> EncoderInfo:
        """Return recipe, window, width and revision, loading the model where needed."""
        return self._run(self._encoder.info())

    def fingerprint(self, purpose: Purpose = "document") -> str:
        """Return a name for cache namespaces that changes with everything that changes a vector.

        It covers the content of the checkpoint's files, the recipe and the prompt of the purpose,
        the fields above that bear on vectors, the type that the weights compute in, the
        quantization and the library. It loads the model where needed.

        `CacheBackedEmbeddings` keeps queries under the same keys as documents unless it is given
        a store for each: give it two stores, with the namespace of each purpose.

        Args:
            purpose: Which prompt to cover.

        Returns:
            64 hexadecimal digits.
        """
        spec = self._encoder.spec
        info = self.info()
        recipe = asdict(info.recipe)
        saved = {purpose: recipe.pop(f"{purpose}_prompt") for purpose in ("query", "document")}
        given = {"query": self.query_prompt, "document": self.document_prompt}[purpose]
        covered = {
            "scheme": _SCHEME,
            "content": checkpoint_fingerprint(spec),
            "recipe": recipe,
            "prompt": saved[purpose] if given is None else given,
            "window": info.window,
            "dtype": info.dtype,
            "quantization": str(spec.quantization),
            "attention": spec.attn_implementation,
            "pooling": self.pooling,
            "normalize": self.normalize,
            "dimensions": self.dimensions,
            "overflow": self.overflow,
        }
        if info.backend != TORCH:  # whose caches keep the name that they have had
            covered["backend"] = info.backend
        return hashlib.sha256(json.dumps(covered, sort_keys=True).encode()).hexdigest()

    def unload(self) -> None:
        """Free the model, once the requests that wait are answered; others share it."""
        unload_models(self._encoder.spec)

    def __enter__(self) -> Self:
        """Return the instance; leaving the block unloads the model."""
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
        /,
    ) -> Literal[False]:
        """Unload the model."""
        self.unload()
        return False

    def _embed(
        self, texts: list[str], purpose: Purpose, progress: Callable[[float], None] | None = None
    ) -> Flow[Embedded]:
        return self._encoder.embed(
            texts,
            purpose=purpose,
            prompt=self.query_prompt if purpose == "query" else self.document_prompt,
            pooling=None if self.pooling is None else (self.pooling,),
            normalize=self.normalize,
            dimensions=self.dimensions,
            overflow=self.overflow,
            progress=progress,
        )

    def _run(self, flow: Flow[T]) -> T:
        return run_flow(flow, model=self.model, timeout_s=self.timeout_s)

    async def _arun(self, flow: Flow[T]) -> T:
        return await run_flow_async(flow, model=self.model, timeout_s=self.timeout_s)

    @contextmanager
    def _progress(self, texts: int) -> Iterator[Callable[[float], None] | None]:
        if not self.show_progress:
            yield None
            return
        from tqdm.auto import tqdm

        with tqdm(total=texts, desc="Embedding", unit=" texts", unit_scale=True) as bar:

            def advance(finished: float) -> None:
                bar.update(finished)

            yield advance


def _as_lists(embedded: Embedded) -> list[list[float]]:
    rows: list[list[float]] = embedded.vectors.tolist()
    return rows
