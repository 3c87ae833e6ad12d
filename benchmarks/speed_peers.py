"""What is compared: ways from the same checkpoint folder and texts to vectors.

Each builder loads one of them. It raises ImportError where its package is not installed; the
comparison then leaves it out.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

Vectors = np.ndarray[Any, Any]
Embed = Callable[[list[str]], Vectors]
PEER_TOKENS = 512
"""Padded tokens of a batch for runtimes that leave batching to their user; best on a CPU."""


@dataclass(frozen=True)
class Opened:
    """A loaded system.

    Attributes:
        embed: From texts to vectors of length 1, `(texts, width)`, float32.
        embeddings: The LangChain class behind it, or None.
    """

    embed: Embed
    embeddings: Any = None


@dataclass(frozen=True)
class System:
    """One way from texts to vectors.

    Attributes:
        name: Its name in tables.
        build: Loads it: from the checkpoint's folder, and one for copies.
        slow: Whether it takes several times longer, so that it runs fewer rounds.
    """

    name: str
    build: Callable[[Path, Path], Opened]
    slow: bool = False


def ours(**fields: Any) -> Callable[[Path, Path], Opened]:
    def build(folder: Path, _work: Path) -> Opened:
        from langchain_xlm import XLMEmbeddings

        embeddings = XLMEmbeddings(model=str(folder), device="cpu", **fields)
        embeddings.info()
        return of_langchain(embeddings)

    return build


def hugging_face(folder: Path, _work: Path) -> Opened:
    from langchain_huggingface import HuggingFaceEmbeddings

    return of_langchain(
        HuggingFaceEmbeddings(model_name=str(folder), model_kwargs={"device": "cpu"})
    )


def of_langchain(embeddings: Any) -> Opened:
    return Opened(lambda texts: unit(embeddings.embed_documents(texts)), embeddings)


def sentence_transformers(folder: Path, _work: Path) -> Opened:
    """Its best setting on a CPU: bfloat16, and small batches (it sorts texts by length itself)."""
    import torch
    from sentence_transformers import SentenceTransformer

    model = SentenceTransformer(str(folder), device="cpu", model_kwargs={"dtype": torch.bfloat16})

    def embed(texts: list[str]) -> Vectors:
        vectors = model.encode(texts, batch_size=4, show_progress_bar=False, convert_to_tensor=True)
        return unit(vectors.float().numpy())

    return Opened(embed)


def ctranslate2(folder: Path, work: Path) -> Opened:
    import ctranslate2 as runtime
    import torch
    from ctranslate2.converters import TransformersConverter

    target = work / f"{folder.name}-ctranslate2"
    if not target.exists():
        name_every_row(folder)
        TransformersConverter(str(folder)).convert(str(target), quantization="int8")
    encoder = runtime.Encoder(
        str(target), device="cpu", compute_type="int8", intra_threads=torch.get_num_threads()
    )

    def run(rows: list[list[int]], mask: Vectors) -> Vectors:
        output = encoder.forward_batch(rows).last_hidden_state
        return mean(np.array(output, dtype=np.float32), mask)

    return batched(folder, run)


def name_every_row(folder: Path) -> None:
    """Have CTranslate2's converter make up words for rows that the tokenizer does not name."""
    from ctranslate2.converters import transformers

    rows = json.loads((folder / "config.json").read_text("utf-8"))["vocab_size"]
    loader = transformers._MODEL_LOADERS["XLMRobertaConfig"]

    def set_vocabulary(spec: Any, tokens: list[str]) -> None:
        spec.register_vocabulary(tokens + [f"madeupword{n}" for n in range(rows - len(tokens))])

    loader.set_vocabulary = set_vocabulary


def onnx_runtime_int8(folder: Path, work: Path) -> Opened:
    import onnxruntime
    import torch
    from onnxruntime.quantization import QuantType, quantize_dynamic

    quantized = work / f"{folder.name}-int8.onnx"
    if not quantized.exists():
        exported = work / f"{folder.name}.onnx"
        model, ids, mask = stock_model(folder)
        torch.onnx.export(
            model,
            (ids, mask),
            str(exported),
            input_names=["input_ids", "attention_mask"],
            output_names=["states"],
            dynamic_axes={
                name: {0: "rows", 1: "tokens"} for name in ("input_ids", "attention_mask")
            },
            dynamo=False,
        )
        quantize_dynamic(
            str(exported), str(quantized), weight_type=QuantType.QInt8, per_channel=True,
            op_types_to_quantize=["MatMul"], use_external_data_format=False,
        )  # fmt: skip
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    session = onnxruntime.InferenceSession(str(quantized), options)

    def run(rows: list[list[int]], mask: Vectors) -> Vectors:
        inputs = {"input_ids": padded(rows), "attention_mask": mask}
        return mean(session.run(None, inputs)[0], mask)

    return batched(folder, run)


def openvino(folder: Path, _work: Path) -> Opened:
    """As it is: on a CPU with bfloat16 it computes in it by itself."""
    import openvino as runtime
    import torch

    model, ids, mask = stock_model(folder)
    converted = runtime.convert_model(model, example_input=(ids, mask))
    compiled = runtime.compile_model(
        converted, "CPU", {"INFERENCE_NUM_THREADS": torch.get_num_threads()}
    )

    def run(rows: list[list[int]], mask: Vectors) -> Vectors:
        return mean(next(iter(compiled([padded(rows), mask]).values())), mask)

    return batched(folder, run)


OURS = "langchain-xlm"
REFERENCE = "HuggingFaceEmbeddings"
SYSTEMS = {
    system.name: system
    for system in (
        System(REFERENCE, hugging_face, slow=True),
        System("sentence-transformers, bfloat16, batches of 4", sentence_transformers, slow=True),
        System(f"{OURS}, float32", ours(dtype="float32"), slow=True),
        System(OURS, ours()),
        System(f"{OURS}, 8bit", ours(quantization="8bit")),
        System(f"{OURS}, 8bit on torch", ours(quantization="8bit", backend="torch")),
        System(f"{OURS}, float32 on CTranslate2", ours(backend="ctranslate2"), slow=True),
        System(
            f"{OURS}, bitsandbytes int8", ours(quantization='{"load_in_8bit": true}'), slow=True
        ),
        System("CTranslate2, int8", ctranslate2),
        System("ONNX Runtime, int8", onnx_runtime_int8),
        System("OpenVINO", openvino),
    )
}


def stock_model(folder: Path) -> tuple[Any, Any, Any]:
    """Load transformers' own model with plain attention, for export, with an example input."""
    import torch
    from transformers import AutoModel

    class States(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.body = AutoModel.from_pretrained(
                folder, add_pooling_layer=False, attn_implementation="eager"
            ).eval()

        def forward(self, input_ids: Any, attention_mask: Any) -> Any:
            hidden = (1 - attention_mask[:, None, None, :].float()) * -1e9
            return self.body(input_ids=input_ids, attention_mask=hidden)[0]

    ids = torch.tensor([[0, 5, 6, 7, 2], [0, 8, 2, 1, 1]])
    return States(), ids, (ids != 1).long()


def batched(folder: Path, run: Callable[[list[list[int]], Vectors], Vectors]) -> Opened:
    """Give a runtime what its user would write: sorted texts, batches by padded tokens."""
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)

    def embed(texts: list[str]) -> Vectors:
        rows = tokenizer(texts, truncation=True, max_length=512)["input_ids"]
        order = sorted(range(len(rows)), key=lambda place: -len(rows[place]))
        parts = []
        while order:
            width = len(rows[order[0]])
            room = max(1, PEER_TOKENS // width)
            taken, order = order[:room], order[room:]
            some = [rows[place] for place in taken]
            lengths = np.array([len(row) for row in some])
            mask = (np.arange(width) < lengths[:, None]).astype(np.int64)
            parts.append((taken, run(some, mask)))
        vectors = np.empty((len(rows), parts[0][1].shape[1]), dtype=np.float32)
        for taken, part in parts:
            vectors[taken] = part
        return unit(vectors)

    return Opened(embed)


def padded(rows: list[list[int]]) -> Vectors:
    ids = np.ones((len(rows), max(map(len, rows))), dtype=np.int64)
    for place, row in enumerate(rows):
        ids[place, : len(row)] = row
    return ids


def mean(states: Vectors, mask: Vectors) -> Vectors:
    weights = mask[:, :, None].astype(np.float32)
    pooled: Vectors = (states[:, : mask.shape[1]] * weights).sum(1) / weights.sum(1)
    return pooled


def unit(vectors: Any) -> Vectors:
    rows = np.asarray(vectors, dtype=np.float32)
    scaled: Vectors = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    return scaled
