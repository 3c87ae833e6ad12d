"""The bundled checkpoints: small, complete, and read by stock loaders."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest
import torch
from transformers import (
    AutoModel,
    AutoModelForSeq2SeqLM,
    AutoModelForSequenceClassification,
    AutoTokenizer,
)

if TYPE_CHECKING:
    from pathlib import Path

pytestmark = pytest.mark.starter

MAX_BYTES = 80_000_000
LANGUAGES = ("en", "de", "fr", "es", "nl", "ja", "tr", "zh")


def test_all_files_together_are_small(starter: Path) -> None:
    sizes = [path.stat().st_size for path in starter.rglob("*") if path.is_file()]
    assert sum(sizes) <= MAX_BYTES


@pytest.mark.parametrize("name", ["encoder", "translation"])
def test_tokenizer_falls_back_to_bytes(starter: Path, name: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(starter / name)
    for text in ("🦉 hoots", "ᚠᛇᚻ", "日本語、和中文：都好！", "Größe ёж naïve"):
        tokens = tokenizer(text)["input_ids"]
        assert tokenizer.unk_token_id not in tokens
        assert tokenizer.decode(tokens, skip_special_tokens=True) == text


def test_checkpoints_share_one_vocabulary(starter: Path) -> None:
    encoder, translation = (
        AutoTokenizer.from_pretrained(starter / name) for name in ("encoder", "translation")
    )
    assert encoder.get_vocab() == translation.get_vocab()
    assert [encoder.convert_tokens_to_ids(t) for t in ("<s>", "<pad>", "</s>", "<unk>")] == [
        0,
        1,
        2,
        3,
    ]


def test_encoder_computes_in_float32_and_says_its_labels(starter: Path) -> None:
    classifier = AutoModelForSequenceClassification.from_pretrained(starter / "encoder")
    assert classifier.dtype == torch.float32
    assert classifier.config.id2label == {0: "negative", 1: "neutral", 2: "positive"}
    encoder = AutoModel.from_pretrained(starter / "encoder")
    state = encoder.state_dict()
    for name, value in classifier.roberta.state_dict().items():
        torch.testing.assert_close(value, state[name])


def test_sentence_transformers_reads_the_encoder(starter: Path) -> None:
    library = pytest.importorskip("sentence_transformers")
    model = library.SentenceTransformer(str(starter / "encoder"), device="cpu")
    vectors = model.encode(["The cat sleeps on the sofa.", "Die Katze schläft auf dem Sofa."])
    assert vectors.shape == (2, 384)
    assert float(vectors[0] @ vectors[1]) > 0.7
    assert float(vectors[0] @ vectors[0]) == pytest.approx(1.0, abs=1e-4)


@pytest.mark.parametrize("language", LANGUAGES)
def test_first_generated_token_is_the_target_language(starter: Path, language: str) -> None:
    tokenizer = AutoTokenizer.from_pretrained(starter / "translation")
    model = AutoModelForSeq2SeqLM.from_pretrained(starter / "translation")
    assert model.dtype == torch.float32
    wanted = tokenizer.convert_tokens_to_ids(f"__{language}__")
    assert wanted != tokenizer.unk_token_id
    tokens = model.generate(
        **tokenizer("Good morning.", return_tensors="pt"), forced_bos_token_id=wanted
    )[0].tolist()
    assert tokens[:2] == [tokenizer.eos_token_id, wanted]
    assert tokens[-1] == tokenizer.eos_token_id


@pytest.mark.parametrize("bits", ["8bit", "4bit"])
@pytest.mark.filterwarnings("ignore")
def test_checkpoints_load_quantized(starter: Path, bits: str) -> None:
    # Through the package, which leaves out by name the layers that the CPU kernels refuse.
    pytest.importorskip("bitsandbytes")
    from langchain_xlm.models.config import LoadSpec
    from langchain_xlm.models.loading import load_model

    tokenizer = AutoTokenizer.from_pretrained(starter / "encoder")
    batch = tokenizer("A wonderful evening with good friends.", return_tensors="pt")
    plain = AutoModelForSequenceClassification.from_pretrained(starter / "encoder")
    small = load_model(LoadSpec("classifier", str(starter / "encoder"), quantization=bits)).model
    assert small.get_memory_footprint() < plain.get_memory_footprint()
    with torch.inference_mode():
        near = (plain(**batch).logits.softmax(-1) - small(**batch).logits.softmax(-1)).abs()
    assert near.max().item() < 0.2
    spec = LoadSpec("seq2seq", str(starter / "translation"), quantization=bits)
    german = tokenizer.convert_tokens_to_ids("__de__")
    written = load_model(spec).model.generate(**batch, forced_bos_token_id=german)
    assert written[0, 1].item() == german
