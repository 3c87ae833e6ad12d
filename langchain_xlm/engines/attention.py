"""Which tokens a model looks at: the attention matrix of one head, to read and to draw."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from langchain_xlm.engines.classifier import ClassifierSession
from langchain_xlm.engines.encoder_session import EncoderSession
from langchain_xlm.errors import ConfigurationError, InputTooLongError
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.families import FAMILIES
from langchain_xlm.models.files import read_json
from langchain_xlm.runtime.flow import Flow, run_flow
from langchain_xlm.runtime.pool import SharedModel
from langchain_xlm.text.cleaning import check_text

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    from langchain_xlm.models.loading import LoadedModel
    from langchain_xlm.runtime.session import Session

__all__ = ["AttentionMap", "attention_map"]


@dataclass(frozen=True, eq=False)
class AttentionMap:
    """How much each token takes from each other one, in one head of one layer.

    Attributes:
        queries: The tokens that look, one for each row.
        keys: The tokens that are looked at, one for each column.
        weights: softmax(QKᵀ/√d), `(queries, keys)`, float32; each row sums to 1.
        layer: The layer, counted from 0.
        head: The head, counted from 0.
        model: Hub id or folder.

    Source:
        Vaswani et al. 2017, section 3.2.1, https://arxiv.org/abs/1706.03762
    """

    queries: tuple[str, ...]
    keys: tuple[str, ...]
    weights: NDArray[np.float32] = field(repr=False)
    layer: int
    head: int
    model: str

    def draw(self, path: str | os.PathLike[str]) -> None:
        """Draw the matrix as a picture.

        Characters that no installed font has are written as their code points, with a note.

        Args:
            path: The file; its ending chooses the format, such as `.png` or `.svg`.

        Raises:
            MissingDependencyError: matplotlib is not installed.
        """
        from langchain_xlm.engines.attention_picture import draw

        draw(self, path)


def attention_map(
    text: str,
    *,
    model: str | LoadSpec = "starter",
    layer: int = -1,
    head: int = 0,
    target: str | None = None,
) -> AttentionMap:
    """Read the attention of one head for a text.

    The model is loaded in eager mode, the only one that computes the matrix as a whole; it shares
    no memory with the same model loaded otherwise. T5's family leaves the √d out and adds a
    learned bias for the distance; its matrix is what it computes.

    Args:
        text: The text.
        model: Hub id, local folder or `"starter"`; or a spec that says how to load it.
        layer: Which layer; from the end where negative.
        head: Which head; likewise.
        target: For sequence-to-sequence models: a translation or summary, whose tokens, as the
            decoder reads them, look at those of the text (cross-attention). None gives the
            self-attention of the encoder.

    Returns:
        The tokens and the matrix.

    Raises:
        InputTooLongError: The text, or the target, exceeds the model's window.
        ConfigurationError: There is no such layer or head, or the model has no decoder.
    """
    check_text(text)
    if target is not None:
        check_text(target, what="target")
    spec = _eager(model, "seq2seq" if target is not None else None)
    flow = _ask(spec, text, target, layer, head)
    return run_flow(flow, model=spec.model)


def _ask(
    spec: LoadSpec, text: str, target: str | None, layer: int, head: int
) -> Flow[AttentionMap]:
    shared = SharedModel(spec, _session_of(spec.task))
    found: AttentionMap = yield shared.call(
        lambda session: _read(session._loaded, text, target, layer, head)
    )
    return found


def _session_of(task: Task) -> Callable[[LoadSpec], Session]:
    # The same sessions as those of the engines, since the pool shares models by spec alone.
    if task == "encoder":
        return EncoderSession
    if task == "classifier":
        return ClassifierSession
    if task == "seq2seq":
        from langchain_xlm.engines.generator_session import GeneratorSession

        return GeneratorSession
    raise ConfigurationError(
        f"attention_map cannot read a {task}. Give a spec with the task 'encoder'."
    )


def _eager(model: str | LoadSpec, task: Task | None) -> LoadSpec:
    if isinstance(model, LoadSpec):
        if task is not None and model.task != task:
            raise ConfigurationError(
                f"A target is read by a decoder, and a model loaded as {model.task} has none."
                " Give a sequence-to-sequence model, or leave the target out."
            )
        return replace(model, attn_implementation="eager")
    spec = LoadSpec(task or "encoder", model, attn_implementation="eager")
    if task is None and not spec.is_starter:
        kind = (read_json(spec, "config.json") or {}).get("model_type")
        tasks = {task for row in FAMILIES if row.model_type == kind for task in row.tasks}
        if tasks == {"seq2seq"}:
            return replace(spec, task="seq2seq")
    return spec


def _read(
    loaded: LoadedModel, text: str, target: str | None, layer: int, head: int
) -> AttentionMap:
    """Run the model and take one matrix out; on the thread that owns it."""
    import torch

    tokenizer: Any = loaded.tokenizer
    source = _ids(loaded, tokenizer(text, verbose=False)["input_ids"], index=0)
    inputs = {"input_ids": torch.tensor([source], device=loaded.device)}
    if target is None:
        model: Any = loaded.model
        if loaded.spec.task == "seq2seq":
            model = model.get_encoder()
        reading = source
    else:
        model = loaded.model
        reading = _ids(loaded, tokenizer(text_target=target, verbose=False)["input_ids"], index=1)
        inputs["decoder_input_ids"] = torch.tensor([reading], device=loaded.device)
    inputs["attention_mask"] = torch.ones_like(inputs["input_ids"])
    with torch.inference_mode():
        output = model(**inputs, output_attentions=True)
    layers = output.attentions if target is None else output.cross_attentions
    layer = _place(layer, len(layers), "layer", loaded.spec.model)
    head = _place(head, layers[layer].shape[1], "head", loaded.spec.model)
    return AttentionMap(
        queries=tuple(tokenizer.convert_ids_to_tokens(reading)),
        keys=tuple(tokenizer.convert_ids_to_tokens(source)),
        weights=layers[layer][0, head].float().cpu().numpy(),
        layer=layer,
        head=head,
        model=loaded.spec.model,
    )


def _ids(loaded: LoadedModel, ids: list[int], *, index: int) -> list[int]:
    if len(ids) > loaded.window:
        raise InputTooLongError(tokens=len(ids), limit=loaded.window, index=index)
    return ids


def _place(number: int, count: int, what: str, model: str) -> int:
    if not -count <= number < count:
        raise ConfigurationError(
            f"{what}={number} is not there: {model!r} has {count}, counted from 0."
            f" Give a number from 0 to {count - 1}, or a negative one to count from the end."
        )
    return number % count
