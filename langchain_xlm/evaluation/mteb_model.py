"""`XLMEmbeddings` as a model of the mteb package, with its prompts and its fingerprint."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_xlm.errors import MissingDependencyError
from langchain_xlm.evaluation.embeddings import query_side

if TYPE_CHECKING:
    import torch
    from mteb.models import ModelMeta
    from mteb.types import PromptType
    from numpy.typing import NDArray

    from langchain_xlm.retrieval.embeddings import XLMEmbeddings

__all__ = ["MtebEncoder"]


class MtebEncoder:
    """An encoder for `mteb.evaluate`.

    Queries and documents get the checkpoint's own prompts, whatever the task asks for besides.
    Its revision is the fingerprint of the embeddings, so that results kept by mteb are never
    taken for those of other weights or settings.

    Example:
        ```python
        import mteb

        encoder = MtebEncoder(XLMEmbeddings(model="intfloat/multilingual-e5-base"))
        results = mteb.evaluate(encoder, mteb.get_tasks(["STS22.v2"]))
        ```
    """

    def __init__(self, embeddings: XLMEmbeddings) -> None:
        """Wrap embeddings; nothing is loaded yet.

        Args:
            embeddings: The embeddings.

        Raises:
            MissingDependencyError: mteb is not installed.
        """
        from importlib.util import find_spec

        if find_spec("mteb") is None:
            raise MissingDependencyError(
                "mteb", needed_for="Running as a model of mteb", extra="mteb"
            )
        self.embeddings = embeddings

    def encode(
        self,
        inputs: Iterable[Mapping[str, Sequence[str]]],
        *,
        task_metadata: object,
        hf_split: str,
        hf_subset: str,
        prompt_type: PromptType | None = None,
        batch_size: int | None = None,
        show_progress_bar: bool | None = None,
        **unused: Any,
    ) -> NDArray[np.float32]:
        """Embed the texts of a task.

        Args:
            inputs: Batches with a list under "text".
            task_metadata: The task; the prompts are the checkpoint's, whatever it is.
            hf_split: Its split.
            hf_subset: Its subset.
            prompt_type: Whether the texts are queries or documents; None counts as documents.
            batch_size: Not used: batches are cut by tokens.
            show_progress_bar: Not used.
            unused: Whatever else later versions of mteb pass to encoders.

        Returns:
            Vectors, `(texts, width)`, float32.
        """
        texts = [text for batch in inputs for text in batch["text"]]
        chosen = self.embeddings
        if prompt_type is not None and prompt_type.value == "query":
            chosen = query_side(self.embeddings)
        return np.array(chosen.embed_documents(texts), dtype=np.float32)

    def similarity(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return the cosine of each vector of one matrix with each of another.

        Args:
            embeddings1: `(rows, width)`.
            embeddings2: `(columns, width)`.

        Returns:
            `(rows, columns)`, float32.
        """
        return _unit(embeddings1) @ _unit(embeddings2).T

    def similarity_pairwise(self, embeddings1: Any, embeddings2: Any) -> torch.Tensor:
        """Return the cosine of each vector of one matrix with the same row of another.

        Args:
            embeddings1: `(rows, width)`.
            embeddings2: `(rows, width)`.

        Returns:
            `(rows,)`, float32.
        """
        return (_unit(embeddings1) * _unit(embeddings2)).sum(dim=-1)

    @property
    def mteb_model_meta(self) -> ModelMeta:
        """What mteb writes beside results; loads the model where needed."""
        from mteb.models import ModelMeta
        from mteb.models.model_meta import ScoringFunction

        info = self.embeddings.info()
        return ModelMeta.create_empty(
            overwrites={
                "name": _name(self.embeddings.model),
                "revision": self.embeddings.fingerprint(),
                "embed_dim": info.width,
                "max_tokens": float(info.window),
                "similarity_fn_name": ScoringFunction.COSINE,
                "use_instructions": bool(info.recipe.query_prompt or info.recipe.document_prompt),
            }
        )


def _name(model: str) -> str:
    """Make a name as mteb wants it, organization and model."""
    path = Path(model)
    if path.is_absolute() or "/" not in model:
        return f"langchain-xlm/{path.name}"
    return model


def _unit(vectors: Any) -> torch.Tensor:
    import torch

    tensor = torch.as_tensor(np.asarray(vectors), dtype=torch.float32)
    rows = tensor.reshape(-1, tensor.shape[-1])  # one vector is a matrix of one row
    return torch.nn.functional.normalize(rows, dim=-1)
