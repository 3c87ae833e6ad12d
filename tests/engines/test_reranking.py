"""The choice among wordings by the way back, against transformers used directly."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from langchain_xlm.engines.decoding import GenerationSettings
from langchain_xlm.engines.generator import GeneratedText, Generator
from langchain_xlm.engines.generator_session import GeneratorSession
from langchain_xlm.engines.torch_writer import _parts
from langchain_xlm.errors import ConfigurationError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import unload_models
from tests.engines.test_generator import change_generation

Checkpoints = Callable[..., Path]

BOTH_WAYS = ("m2m100", "nllb", "mbart50", "encoder-decoder")
CONVERTED = ("m2m100", "nllb", "mbart50")
LANGUAGES = {
    "m2m100": ("__en__", "__de__"),
    "nllb": ("eng_Latn", "deu_Latn"),
    "mbart50": ("en_XX", "de_DE"),
    "encoder-decoder": ("__en__", "__de__"),
}
SENTENCES = (
    "The train to Berlin leaves at nine.",
    "She reads a good book about the history of the city, and then another one.",
    "No!",
)
BEAMS = 4
SETTINGS = GenerationSettings(max_new_tokens=8, num_beams=BEAMS)


@pytest.fixture(autouse=True)
def _unload() -> Any:
    yield
    unload_models()


@pytest.fixture(autouse=True)
def _once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights loop; nothing is written a second time."""
    monkeypatch.setattr("langchain_xlm.engines.generator_session.retries", lambda *_, **__: ())


def spec_of(folder: Path, backend: str = "torch") -> LoadSpec:
    return LoadSpec("seq2seq", model=str(folder), dtype="float32", backend=backend)


def generate(
    folder: Path, texts: list[str], backend: str = "torch", **settings: Any
) -> list[GeneratedText]:
    wanted = GenerationSettings(**({"max_new_tokens": 8, "num_beams": BEAMS} | settings))
    generator = Generator(spec_of(folder, backend))
    return run_flow(
        generator.generate(texts, source="en", target="de", settings=wanted), model="tiny"
    )


class Stock:
    """transformers as its documentation uses it, one text at a time."""

    def __init__(self, kind: str, folder: Path) -> None:
        from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

        self.tokenizer = AutoTokenizer.from_pretrained(folder)
        self.model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
        self.names = LANGUAGES[kind]

    def read(self, text: str, language: int) -> list[int]:
        if hasattr(self.tokenizer, "lang_code_to_token") or self.tokenizer.__class__.__name__ in {
            "NllbTokenizer",
            "MBart50Tokenizer",
        }:
            self.tokenizer.src_lang = self.names[language].strip("_")
        return self.tokenizer(text)["input_ids"]

    def wordings(self, text: str) -> list[tuple[str, float]]:
        """German wordings with their scores."""
        found = self.model.generate(
            input_ids=torch.tensor([self.read(text, 0)]),
            num_beams=BEAMS,
            num_return_sequences=BEAMS,
            max_new_tokens=8,
            forced_eos_token_id=None,
            forced_bos_token_id=self.tokenizer.convert_tokens_to_ids(self.names[1]),
            return_dict_in_generate=True,
            output_scores=True,
        )
        texts = self.tokenizer.batch_decode(found.sequences, skip_special_tokens=True)
        return list(zip(map(str.strip, texts), found.sequences_scores.tolist(), strict=True))

    def back(self, wording: str, text: str) -> float:
        """Mean log-probability of the English text, given a German wording."""
        special = {*self.tokenizer.all_special_ids, *map(self.id_of, self.names)}
        own = [token for token in self.read(text, 0) if token not in special]
        labels = torch.tensor([[self.id_of(self.names[0]), *own, self.tokenizer.eos_token_id]])
        start = torch.tensor([[self.model.generation_config.decoder_start_token_id]])
        with torch.inference_mode():
            logits = self.model(
                input_ids=torch.tensor([self.read(wording, 1)]),
                decoder_input_ids=torch.cat([start, labels[:, :-1]], dim=1),
            ).logits
        chances = logits.log_softmax(-1).gather(2, labels[:, :, None])[0, :, 0]
        return float(chances[1:].mean())

    def id_of(self, token: str) -> int:
        return int(self.tokenizer.convert_tokens_to_ids(token))


@pytest.mark.parametrize("weight", [0.0, 0.5, 1000.0])
@pytest.mark.parametrize("kind", BOTH_WAYS)
def test_the_choice_is_that_of_the_formula(
    kind: str, weight: float, checkpoints: Checkpoints
) -> None:
    stock = Stock(kind, checkpoints(kind))
    ours = generate(checkpoints(kind), list(SENTENCES), reverse_weight=weight)
    for text, result in zip(SENTENCES, ours, strict=True):
        totals = {
            wording: score + weight * stock.back(wording, text)
            for wording, score in reversed(stock.wordings(text))
            if wording or not weight  # what says nothing is not chosen, but a search may find it
        }
        assert totals[result.text] == pytest.approx(max(totals.values()), abs=1e-4)


def test_the_way_back_changes_the_choice(checkpoints: Checkpoints) -> None:
    for kind in BOTH_WAYS:
        plain = generate(checkpoints(kind), list(SENTENCES), reverse_weight=0.0)
        if plain != generate(checkpoints(kind), list(SENTENCES), reverse_weight=1000.0):
            return
    raise AssertionError("no weight changed anything")


@pytest.mark.parametrize("kind", CONVERTED)
def test_both_libraries_judge_alike(kind: str, checkpoints: Checkpoints) -> None:
    one = GeneratorSession(spec_of(checkpoints(kind), "torch"))
    other = GeneratorSession(spec_of(checkpoints(kind), "ctranslate2"))
    rows = [one._tokenizer(text)["input_ids"] for text in SENTENCES]
    targets = [rows[1], rows[2], rows[0]]
    assert one._writer.score(rows, targets) == pytest.approx(
        other._writer.score(rows, targets), abs=1e-4
    )


@pytest.mark.parametrize("kind", ["nllb", "encoder-decoder"])
def test_a_text_in_a_batch_equals_the_text_alone(kind: str, checkpoints: Checkpoints) -> None:
    together = generate(checkpoints(kind), list(SENTENCES), reverse_weight=1000.0)
    for text, result in zip(SENTENCES, together, strict=True):
        assert generate(checkpoints(kind), [text], reverse_weight=1000.0) == [result]


def test_a_checkpoint_may_ask_for_it(checkpoints: Checkpoints, tmp_path: Path) -> None:
    # Of settings that transformers derived from config.json itself it drops what it does not know.
    asking = change_generation(
        checkpoints("nllb"), tmp_path, reverse_weight=1000.0, _from_model_config=False
    )
    texts = list(SENTENCES)
    assert generate(asking, texts) == generate(checkpoints("nllb"), texts, reverse_weight=1000.0)
    assert generate(asking, texts, reverse_weight=0.0) == generate(checkpoints("nllb"), texts)
    greedy = generate(asking, texts, num_beams=1)
    assert greedy == generate(checkpoints("nllb"), texts, num_beams=1)


@pytest.mark.parametrize("kind", ["marian", "mt5"])
def test_models_of_one_way_are_refused(kind: str, checkpoints: Checkpoints) -> None:
    with pytest.raises(ConfigurationError, match=r"reverse_weight=0\.5 needs a model that"):
        generate(checkpoints(kind), list(SENTENCES), reverse_weight=0.5)


def test_one_wording_leaves_no_choice(checkpoints: Checkpoints) -> None:
    with pytest.raises(ConfigurationError, match="keeps one: give num_beams, 4 for example"):
        generate(checkpoints("nllb"), list(SENTENCES), reverse_weight=0.5, num_beams=1)


@pytest.mark.parametrize("weight", [-0.1, math.inf, math.nan])
def test_weights_out_of_range_are_named(weight: float) -> None:
    with pytest.raises(ConfigurationError, match=f"reverse_weight={weight!r} must be 0"):
        GenerationSettings(reverse_weight=weight)


def test_what_the_decoder_cannot_hold_is_not_led_back(checkpoints: Checkpoints) -> None:
    session = GeneratorSession(spec_of(checkpoints("nllb")))
    direction = Generator(spec_of(checkpoints("nllb"))).direction("", source="en", target="de")
    forth = run_flow(direction, model="tiny")
    back = session._reranker.reverse(forth, GenerationSettings(num_beams=2, reverse_weight=1.0))
    assert back is not None
    assert (back.source, back.target) == ("de", "en")
    word = session._tokenizer("train")["input_ids"][1]
    room = session._decoder_window
    assert session._reranker.source([word] * (room - 2), back) is not None
    assert session._reranker.source([word] * (room - 1), back) is None
    assert session._reranker.source([], back) is None


def test_parts_hold_every_row_once() -> None:
    rows = [[0] * length for length in (3, 400, 5, 5, 600, 2)]
    parts = list(_parts(rows, rows, 512))
    assert [place for part in parts for place in part] == list(range(6))
    assert [list(part) for part in parts] == [[0], [1], [2, 3], [4], [5]]
