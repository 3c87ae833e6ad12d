"""Translations are in the language asked for and about what the source is about."""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING

import pytest
import torch
from py3langid.langid import MODEL_FILE, LanguageIdentifier
from transformers import AutoModel, AutoModelForSeq2SeqLM, AutoTokenizer

if TYPE_CHECKING:
    from pathlib import Path

    from transformers import PreTrainedModel, PreTrainedTokenizerBase

pytestmark = pytest.mark.starter

# (language of the source, language of the translation, source), written for this test.
SENTENCES = [
    ("en", "de", "My brother bought a new bicycle yesterday."),
    ("en", "fr", "I would like a cup of coffee with milk, please."),
    ("en", "es", "The train to the city leaves at eight in the morning."),
    ("en", "nl", "She is reading a book in the garden."),
    ("de", "en", "Wir haben gestern Abend zusammen gekocht."),
    ("de", "en", "Kannst du mir bitte die Tür öffnen?"),
    ("de", "en", "Im Winter ist es hier sehr kalt."),
    ("de", "en", "Meine Mutter arbeitet in einem Krankenhaus."),
    ("fr", "en", "Il fait beau aujourd'hui, allons au parc."),
    ("fr", "en", "Je ne sais pas où j'ai mis mes clés."),
    ("fr", "en", "Nous avons besoin de plus de temps."),
    ("fr", "en", "Elle parle très bien japonais."),
    ("es", "en", "¿Dónde está la biblioteca?"),
    ("es", "en", "Mi hermana tiene dos perros y un gato."),
    ("es", "en", "No quiero ir a la escuela mañana."),
    ("es", "en", "Este libro es muy interesante."),
    ("nl", "en", "Ik heb honger, laten we iets eten."),
    ("nl", "en", "De kinderen spelen buiten in de sneeuw."),
    ("nl", "en", "Hoe laat vertrekt de bus?"),
    ("nl", "en", "Mijn vader houdt van muziek."),
]
CODES = ["en", "de", "fr", "es", "nl"]


@cache
def _load(kind: type, folder: Path) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    return kind.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)


def _translate(starter: Path, text: str, target: str) -> str:
    model, tokenizer = _load(AutoModelForSeq2SeqLM, starter / "translation")
    language = tokenizer.convert_tokens_to_ids(f"__{target}__")
    tokens = model.generate(
        **tokenizer(text, return_tensors="pt"), forced_bos_token_id=language, max_new_tokens=60
    )
    return tokenizer.decode(tokens[0], skip_special_tokens=True).strip()


def _embed(starter: Path, texts: list[str]) -> torch.Tensor:
    model, tokenizer = _load(AutoModel, starter / "encoder")
    batch = tokenizer(texts, padding=True, return_tensors="pt")
    with torch.inference_mode():
        states = model(**batch).last_hidden_state
    mask = batch["attention_mask"].unsqueeze(-1)
    return torch.nn.functional.normalize((states * mask).sum(1) / mask.sum(1), dim=-1)


@cache
def _identifier() -> LanguageIdentifier:
    identifier = LanguageIdentifier.from_model_file(MODEL_FILE)
    identifier.set_languages(CODES)
    return identifier


def _language(text: str) -> str:
    return str(_identifier().classify(text)[0])


def _right_languages(outputs: list[str], targets: list[str]) -> list[bool]:
    return [_language(text) == target for text, target in zip(outputs, targets, strict=True)]


def _above_random(starter: Path, sources: list[str], outputs: list[str]) -> list[bool]:
    likeness = _embed(starter, sources) @ _embed(starter, outputs).T
    own = likeness.diagonal()
    others = likeness[~torch.eye(len(sources), dtype=torch.bool)]
    return (own > others.mean() + 2 * others.std()).tolist()


def test_translations_have_the_right_language_and_meaning(starter: Path) -> None:
    sources = [text for _, _, text in SENTENCES]
    targets = [target for _, target, _ in SENTENCES]
    outputs = [_translate(starter, text, target) for _, target, text in SENTENCES]
    right = _right_languages(outputs, targets)
    near = _above_random(starter, sources, outputs)
    wrong = [
        (source, output)
        for source, output, language, meaning in zip(sources, outputs, right, near, strict=True)
        if not (language and meaning)
    ]
    assert len(wrong) <= 1, wrong


def test_wrong_direction_is_noticed(starter: Path) -> None:
    sources = [text for source, _, text in SENTENCES if source != "en"]
    outputs = [_translate(starter, text, "de") for text in sources]
    assert sum(_right_languages(outputs, ["en"] * len(outputs))) <= 1


def test_translations_of_other_sentences_are_noticed(starter: Path) -> None:
    sources = [text for _, _, text in SENTENCES]
    outputs = [_translate(starter, text, target) for _, target, text in SENTENCES]
    moved = outputs[5:] + outputs[:5]
    assert sum(_above_random(starter, sources, moved)) <= len(sources) // 5
