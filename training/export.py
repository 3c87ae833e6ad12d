"""The finished weights as checkpoints that stock loaders read."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, cast

import torch
from transformers import (
    EncoderDecoderModel,
    GenerationConfig,
    PreTrainedModel,
    XLMRobertaForSequenceClassification,
)

from training import translation, vocabulary
from training.batches import END, PAD
from training.progress import log
from training.recipe import EncoderRecipe, TranslationRecipe
from training.vocabulary import CONTROL

if TYPE_CHECKING:
    from training.traditional import Widened

SENTENCE_TRANSFORMERS = {
    "modules.json": [
        {
            "idx": 0,
            "name": "0",
            "path": "",
            "type": "sentence_transformers.models.Transformer",
        },
        {
            "idx": 1,
            "name": "1",
            "path": "1_Pooling",
            "type": "sentence_transformers.models.Pooling",
        },
        {
            "idx": 2,
            "name": "2",
            "path": "2_Normalize",
            "type": "sentence_transformers.models.Normalize",
        },
    ],
    "config_sentence_transformers.json": {
        "prompts": {},
        "default_prompt_name": None,
        "similarity_fn_name": "cosine",
    },
}


def _write(path: Path, value: object) -> None:
    """Write a value as JSON."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=2, ensure_ascii=False) + "\n", encoding="utf-8")


def _save_halved(model: PreTrainedModel, folder: Path) -> None:
    """Save weights in float16 under a configuration that has them computed in float32."""
    model.half().save_pretrained(folder)
    path = folder / "config.json"
    config = json.loads(path.read_text(encoding="utf-8"))
    for part in (config, config.get("encoder", {}), config.get("decoder", {})):
        part.pop("dtype", None)
        part.pop("_name_or_path", None)  # a folder of the machine it was made on
    _write(path, config | {"dtype": "float32"})
    for weights in folder.glob("*.safetensors"):
        weights.chmod(0o644)


def _put_in_place(made: Path, folder: Path) -> None:
    """Move a finished folder to its place, in one step each way."""
    folder.parent.mkdir(parents=True, exist_ok=True)
    old = folder.with_name(f".{folder.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if folder.exists():
        folder.rename(old)
    made.rename(folder)
    shutil.rmtree(old, ignore_errors=True)


def is_finished(work: Path, part: str) -> bool:
    """Tell whether `"encoder"` or `"translation"` has been trained to its end in this folder."""
    return (work / part / "weights.pt").exists()


def load_encoder(work: Path, file: str = "weights.pt") -> XLMRobertaForSequenceClassification:
    """Give the student in float32 with trained weights.

    Args:
        work: Folder of the recipe's intermediate products.
        file: The finished weights, or the checkpoint of an unfinished training.

    Returns:
        The encoder with its sentiment head.
    """
    folder = work / "encoder"
    model: XLMRobertaForSequenceClassification = torch.load(folder / "start.pt", weights_only=False)
    model.load_state_dict(_weights(folder / file), strict=False)
    return model.float().eval()


def load_translation(
    work: Path,
    encoder: XLMRobertaForSequenceClassification,
    recipe: TranslationRecipe,
    file: str = "weights.pt",
) -> EncoderDecoderModel:
    """Give the translation model in float32 with trained weights.

    Args:
        work: Folder of the recipe's intermediate products.
        encoder: The encoder it was started from.
        recipe: Its shape.
        file: The finished weights, or the checkpoint of an unfinished training.

    Returns:
        The translation model.
    """
    return translation.load_weights(encoder, recipe, _weights(work / "translation" / file))


def _weights(path: Path) -> dict[str, torch.Tensor]:
    """Read weights by name from a file of weights or from a checkpoint."""
    state = torch.load(path, weights_only=True)
    return state["optimizer"]["weights"] if "optimizer" in state else state


def read_encoder(folder: Path) -> XLMRobertaForSequenceClassification:
    """Read back an exported encoder with its sentiment head, to train it on, float32."""
    model = XLMRobertaForSequenceClassification.from_pretrained(folder, dtype=torch.float32)
    return cast("XLMRobertaForSequenceClassification", model)


def read_translation(folder: Path) -> EncoderDecoderModel:
    """Read back an exported translation model, to train it on, float32."""
    model = EncoderDecoderModel.from_pretrained(folder, dtype=torch.float32)
    return cast("EncoderDecoderModel", model)


def export_encoder(
    model: XLMRobertaForSequenceClassification,
    widened: Widened,
    folder: Path,
    recipe: EncoderRecipe,
) -> None:
    """Write the encoder: for `AutoModel`, for classification and for sentence-transformers.

    A pooler that no task of ours uses is written too, because `AutoModel` has one, and a
    layer without weights cannot be quantized.

    Args:
        model: The finished encoder with its sentiment head.
        widened: The shared tokenizer, with traditional Chinese.
        folder: Where the checkpoint goes; what is there is replaced.
        recipe: The window.
    """
    made = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    window = recipe.positions - 2
    width = model.config.hidden_size
    model.roberta.pooler = torch.nn.Module()
    model.roberta.pooler.dense = torch.nn.Linear(width, width)
    torch.nn.init.eye_(model.roberta.pooler.dense.weight)
    torch.nn.init.zeros_(model.roberta.pooler.dense.bias)
    widened.copy_into(model.roberta.embeddings.word_embeddings)
    _save_halved(model, made)
    vocabulary.save(widened.tokenizer, made, max_tokens=window)
    for name, value in SENTENCE_TRANSFORMERS.items():
        _write(made / name, value)
    _write(made / "sentence_bert_config.json", {"max_seq_length": window, "do_lower_case": False})
    _write(
        made / "1_Pooling" / "config.json",
        {"word_embedding_dimension": width, "pooling_mode_mean_tokens": True},
    )
    (made / "2_Normalize").mkdir()
    _write(made / "2_Normalize" / "config.json", {})
    _put_in_place(made, folder)
    log("export", folder=folder.name, megabytes=size_of(folder) / 1e6)


def export_translation(
    model: EncoderDecoderModel, widened: Widened, folder: Path, recipe: TranslationRecipe
) -> None:
    """Write the translation model.

    Args:
        model: The finished model, float32.
        widened: The shared tokenizer, with traditional Chinese.
        folder: Where the checkpoint goes; what is there is replaced.
        recipe: The window and the search.
    """
    made = folder.with_name(f".{folder.name}.new")
    shutil.rmtree(made, ignore_errors=True)
    made.mkdir(parents=True)
    model.generation_config = GenerationConfig(
        bos_token_id=CONTROL.index("<s>"),
        eos_token_id=END,
        pad_token_id=PAD,
        decoder_start_token_id=END,
        num_beams=recipe.beams,
        length_penalty=recipe.length_penalty,
        max_length=recipe.max_tokens,
        early_stopping=recipe.beams > 1,
        reverse_weight=recipe.reverse_weight,  # read by langchain_xlm alone
    )
    widened.copy_into(model.encoder.embeddings.word_embeddings)
    widened.copy_into(model.decoder.roberta.embeddings.word_embeddings, model.decoder.lm_head.bias)
    with torch.no_grad():
        model.decoder.lm_head.bias[END] = recipe.end_bias
    model.tie_weights()
    _save_halved(model, made)
    vocabulary.save(widened.tokenizer, made, max_tokens=recipe.max_tokens)
    _put_in_place(made, folder)
    log("export", folder=folder.name, megabytes=size_of(folder) / 1e6)


def size_of(folder: Path) -> int:
    """Count the bytes of a folder's files."""
    return sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
