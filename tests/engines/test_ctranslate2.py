"""Models on CTranslate2 must do what they do on torch: same texts, same flags, same refusals."""

from __future__ import annotations

import gc
import json
import logging
import shutil
import sys
import weakref
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from langchain_xlm.engines.ctranslate2_writer import unsupported
from langchain_xlm.engines.decoding import Plan
from langchain_xlm.engines.generator import GeneratedText, GenerationSettings, Generator
from langchain_xlm.engines.generator_session import GeneratorSession
from langchain_xlm.engines.opening import open_model
from langchain_xlm.engines.repetition import invented_repetition
from langchain_xlm.errors import ConfigurationError, MissingDependencyError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import unload_models

Checkpoints = Callable[..., Path]

KINDS = ("nllb", "m2m100", "mbart50", "marian", "marian-pair", "mt5")
SENTENCES = (
    "The weather is nice today.",
    "No.",
    "She reads a good book about the history of the city.",
    "Where is the station? And where is the train to Berlin, which leaves at nine?",
    "Sentence number 12 of 345 is not longer than 67 or 890 words.",
)


@pytest.fixture(autouse=True)
def _unload() -> Any:
    yield
    unload_models()


@pytest.fixture
def once(monkeypatch: pytest.MonkeyPatch) -> None:
    """Random weights loop; nothing is written a second time."""
    monkeypatch.setattr("langchain_xlm.engines.generator_session.retries", lambda *_, **__: ())


@pytest.fixture(scope="module")
def varied(checkpoints: Checkpoints, tmp_path_factory: pytest.TempPathFactory) -> Checkpoints:
    """Checkpoints whose output has an end now and then, and is not the start token alone."""
    from safetensors.torch import load_file, save_file

    made: dict[str, Path] = {}

    def folder(kind: str) -> Path:
        if kind not in made:
            made[kind] = tmp_path_factory.mktemp("varied") / kind
            shutil.copytree(checkpoints(kind), made[kind])
            weights = load_file(made[kind] / "model.safetensors")
            name = "shared.weight" if kind == "mt5" else "model.shared.weight"
            if kind == "mt5":  # with the embeddings' usual size it repeats what it reads
                weights[name] *= 0.05
            else:  # the end is taken where the most frequent token would be
                end = 0 if kind.startswith("marian") else 2
                weights[name][end] = 1.02 * weights[name][_frequent_token(made[kind])]
            save_file(weights, made[kind] / "model.safetensors", metadata={"format": "pt"})
            # Without it, transformers goes on for a while when as many hypotheses have ended as
            # there are beams; CTranslate2 stops.
            change_generation(made[kind], early_stopping=True)
        return made[kind]

    return folder


def change_generation(folder: Path, **settings: Any) -> None:
    file = folder / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))


def _frequent_token(folder: Path) -> int:
    session = GeneratorSession(spec_of(folder, "torch"))
    rows = [session._tokenizer(text)["input_ids"] for text in SENTENCES]
    written = session._writer.write(rows, Plan(None, 16, GenerationSettings()))
    counted = Counter(token for (row,) in written for token in row.ids[6:])
    return counted.most_common(1)[0][0]


def spec_of(folder: Path, backend: str, **options: Any) -> LoadSpec:
    options = {"dtype": "float32"} | options
    return LoadSpec("seq2seq", model=str(folder), backend=backend, **options)


def generate(
    folder: Path, backend: str, texts: Any = SENTENCES, loading: Any = (), **options: Any
) -> list[GeneratedText]:
    options = {"source": "en", "target": "de"} | options
    options.setdefault("settings", GenerationSettings(max_new_tokens=20))
    generator = Generator(spec_of(folder, backend, **dict(loading)))
    return run_flow(generator.generate(list(texts), **options), model="tiny")


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("kind", KINDS)
def test_the_greedy_output_is_that_of_torch(kind: str, varied: Checkpoints) -> None:
    ours = generate(varied(kind), "ctranslate2")
    assert ours == generate(varied(kind), "torch")
    assert len({result.text for result in ours}) > 2, "the outputs show something"


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("kind", KINDS)
def test_the_output_of_beams_is_that_of_torch(
    kind: str, checkpoints: Checkpoints, varied: Checkpoints
) -> None:
    # Without ends: where hypotheses of different lengths compete, the two may rank those that lie
    # close differently.
    folder = varied(kind) if kind == "mt5" else checkpoints(kind)
    settings = GenerationSettings(max_new_tokens=20, num_beams=4)
    ours = generate(folder, "ctranslate2", settings=settings)
    assert ours == generate(folder, "torch", settings=settings)
    assert ours != generate(folder, "ctranslate2"), "the beams matter"


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize(
    ("kind", "settings"),
    [
        ("marian", {"num_beams": 4, "length_penalty": 3.0}),
        ("marian", {"num_beams": 4, "length_penalty": -2.0}),
        ("marian", {"min_new_tokens": 12}),
        *(
            (kind, settings)
            for kind in ("nllb", "marian")
            for settings in (
                {"no_repeat_ngram_size": 2},
                {"repetition_penalty": 1.4},
                {"max_new_tokens": 3},
            )
        ),
    ],
    ids=str,
)
def test_every_setting_does_what_it_does_on_torch(
    kind: str, settings: dict[str, Any], varied: Checkpoints
) -> None:
    decoding = GenerationSettings(**{"max_new_tokens": 20} | settings)
    plain = GenerationSettings(max_new_tokens=20, num_beams=settings.get("num_beams"))
    ours = generate(varied(kind), "ctranslate2", settings=decoding)
    assert ours == generate(varied(kind), "torch", settings=decoding)
    assert ours != generate(varied(kind), "ctranslate2", settings=plain), "the setting matters"


@pytest.mark.usefixtures("once")
def test_ends_and_limits_are_told_apart(varied: Checkpoints) -> None:
    results = generate(varied("marian"), "ctranslate2")
    cut = ["length_limit" in result.flags for result in results]
    assert any(cut)
    assert not all(cut)


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("kind", ["m2m100", "mt5"])
def test_a_long_text_comes_back_as_on_torch(kind: str, varied: Checkpoints) -> None:
    text = "\n\n".join(" ".join(SENTENCES) for _ in range(6)) + "\n12:30\n🙂 Hello.\n"
    text += "The book of the garden and " * 60
    (ours,) = generate(varied(kind), "ctranslate2", [text], granularity="window")
    assert (ours,) == tuple(generate(varied(kind), "torch", [text], granularity="window"))
    assert len(ours.pieces) > 1


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize("beams", [1, 3])
def test_a_text_in_a_batch_equals_the_text_alone(beams: int, varied: Checkpoints) -> None:
    settings = GenerationSettings(max_new_tokens=12, num_beams=beams)
    together = generate(varied("nllb"), "ctranslate2", settings=settings)
    for text, result in zip(SENTENCES, together, strict=True):
        assert generate(varied("nllb"), "ctranslate2", [text], settings=settings) == [result]


@pytest.mark.usefixtures("once")
@pytest.mark.parametrize(("rows", "beams", "parts"), [(65, 1, 2), (16, 4, 2), (63, 1, 1)])
def test_a_large_batch_is_written_in_halves_side_by_side(
    rows: int, beams: int, parts: int, varied: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_xlm.engines import ctranslate2_writer, lanes

    monkeypatch.setattr(lanes, "lanes_here", lambda: 2)
    session = GeneratorSession(spec_of(varied("nllb"), "ctranslate2"))
    writer = session._writer
    assert writer._translator.num_translators == 2
    texts = [f"{text[:-1]} at {hour}." for hour in range(13) for text in SENTENCES][:rows]
    sources = [session._tokenizer(text)["input_ids"] for text in texts]
    plan = Plan(None, 12, GenerationSettings(num_beams=beams))
    counting = _Counting(writer._translator)
    monkeypatch.setattr(writer, "_translator", counting)
    in_parts = writer.write(sources, plan, wordings=beams)
    assert (len(counting.sizes), sum(counting.sizes)) == (parts, rows)
    assert max(counting.sizes) - min(counting.sizes) <= 1
    monkeypatch.setattr(ctranslate2_writer, "_LEAST_DIVIDED", 10**6)
    whole = writer.write(sources, plan, wordings=beams)
    assert [[each.ids for each in row] for row in in_parts] == [
        [each.ids for each in row] for row in whole
    ]


@pytest.mark.usefixtures("once")
def test_a_half_that_fails_is_told_when_all_have_ended(
    varied: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_xlm.engines import lanes

    monkeypatch.setattr(lanes, "lanes_here", lambda: 2)
    session = GeneratorSession(spec_of(varied("nllb"), "ctranslate2"))
    failing = _Failing(session._writer._translator)
    monkeypatch.setattr(session._writer, "_translator", failing)
    rows = [session._tokenizer("No.")["input_ids"]] * 64
    with pytest.raises(RuntimeError, match="memory"):
        session._writer.write(rows, Plan(None, 12, GenerationSettings()))
    assert failing.asked == 2, "the other half was waited for"


class _Counting:
    """A translator that notes how many rows it is given at a time."""

    def __init__(self, translator: Any) -> None:
        self._translator = translator
        self.num_translators = translator.num_translators
        self.sizes: list[int] = []

    def translate_batch(self, rows: list[list[str]], **options: Any) -> Any:
        self.sizes.append(len(rows))
        return self._translator.translate_batch(rows, **options)


class _Failing(_Counting):
    """A translator whose results all fail when they are asked for, and that counts the halves."""

    asked = 0

    def translate_batch(self, rows: list[list[str]], **options: Any) -> Any:
        results = super().translate_batch(rows, **options)

        def failing() -> Any:
            self.asked += 1
            results[0].result()
            raise RuntimeError("out of memory")

        return [SimpleNamespace(result=failing)]


@pytest.mark.parametrize(("lanes", "expected"), [(1, 1), (2, 2), (4, 1)])
def test_a_writer_has_a_second_lane_on_two_cores(
    lanes: int, expected: int, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    from langchain_xlm.engines import lanes as module

    monkeypatch.setattr(module, "lanes_here", lambda: lanes)
    session = GeneratorSession(spec_of(checkpoints("nllb"), "ctranslate2"))
    assert session._writer._translator.num_translators == expected


def test_a_loop_is_written_anew(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = GenerationSettings(max_new_tokens=40)
    retried = generate(checkpoints("nllb"), "ctranslate2", settings=settings)
    monkeypatch.setattr("langchain_xlm.engines.generator_session.retries", lambda *_, **__: ())
    at_once = generate(checkpoints("nllb"), "ctranslate2", settings=settings)
    assert any("repetition_retried" in result.flags for result in retried)
    for new, old in zip(retried, at_once, strict=True):
        for after, before in zip(new.pieces, old.pieces, strict=True):
            assert invented_repetition(after.source, after.text) <= invented_repetition(
                before.source, before.text
            )


@pytest.mark.usefixtures("once")
def test_threads_get_their_own_languages(varied: Checkpoints) -> None:
    folder = varied("nllb")
    jobs = [
        (text, target) for text in SENTENCES[:4] for target in ("de", "fr", "ja", "tr", "es", "zh")
    ]
    alone = [generate(folder, "torch", [text], target=target) for text, target in jobs]
    with ThreadPoolExecutor(8) as threads:
        at_once = list(
            threads.map(lambda job: generate(folder, "ctranslate2", [job[0]], target=job[1]), jobs)
        )
    assert at_once == alone
    assert len({result[0].text for result in alone}) > 12


@pytest.mark.parametrize(
    ("options", "backend"),
    [
        ({"quantization": "8bit", "dtype": "auto"}, "ctranslate2"),
        ({"dtype": "float32"}, "ctranslate2"),
        ({"dtype": "bfloat16"}, "torch"),
        ({"device_map": {"": "cpu"}}, "torch"),
        ({"attn_implementation": "eager"}, "torch"),
        ({"backend": "torch"}, "torch"),
    ],
    ids=str,
)
def test_auto_takes_what_is_faster_here(
    options: dict[str, Any], backend: str, checkpoints: Checkpoints
) -> None:
    options = {"device": None if "device_map" in options else "cpu", "backend": "auto"} | options
    session = GeneratorSession(spec_of(checkpoints("nllb"), **options))
    assert session.info.backend == backend


def test_auto_leaves_other_families_to_torch(checkpoints: Checkpoints) -> None:
    assert open_model(spec_of(checkpoints("encoder-decoder"), "auto")).backend == "torch"


def test_other_families_are_refused_by_name(checkpoints: Checkpoints) -> None:
    with pytest.raises(ConfigurationError, match=r"'encoder-decoder'.*backend='torch'"):
        open_model(spec_of(checkpoints("encoder-decoder"), "ctranslate2"))


def test_without_the_package(checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ctranslate2", None)
    assert open_model(spec_of(checkpoints("nllb"), "auto")).backend == "torch"
    with pytest.raises(MissingDependencyError, match=r"pip install 'langchain-xlm\[ctranslate2\]'"):
        open_model(spec_of(checkpoints("nllb"), "ctranslate2"))


def test_settings_that_it_cannot_follow_are_not_ignored(
    checkpoints: Checkpoints, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    folder = tmp_path / "biased"
    shutil.copytree(checkpoints("nllb"), folder)
    change_generation(folder, sequence_bias=[[[2], 100.0]])
    with pytest.raises(ConfigurationError, match="sequence_bias"):
        open_model(spec_of(folder, "ctranslate2"))
    with caplog.at_level(logging.WARNING, "langchain_xlm"):
        assert open_model(spec_of(folder, "auto")).backend == "torch"
    assert "sequence_bias" in caplog.text


@pytest.mark.usefixtures("once")
def test_forbidden_tokens_stay_forbidden(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = tmp_path / "forbidding"
    shutil.copytree(checkpoints("marian"), folder)
    before = generate(folder, "ctranslate2")
    often = _frequent_token(folder)
    change_generation(folder, bad_words_ids=[[often]], suppress_tokens=[often + 1])
    unload_models()
    after = generate(folder, "ctranslate2")
    assert after == generate(folder, "torch")
    assert after != before


def test_settings_without_meaning_are_no_obstacle() -> None:
    from transformers import GenerationConfig

    usual = GenerationConfig(
        num_beams=5,
        early_stopping=True,
        max_length=200,
        num_beam_groups=1,
        diversity_penalty=0.0,
        encoder_no_repeat_ngram_size=0,
        forced_eos_token_id=2,
        bad_words_ids=[[1]],
    )
    assert unsupported(usual) == []
    assert unsupported(GenerationConfig(encoder_no_repeat_ngram_size=3, num_beam_groups=2)) == [
        "encoder_no_repeat_ngram_size",
        "num_beam_groups",
    ]


def test_unloading_frees_the_model(checkpoints: Checkpoints) -> None:
    session = GeneratorSession(spec_of(checkpoints("nllb"), "ctranslate2"))
    model = weakref.ref(session._writer)
    session.close()
    gc.collect()
    assert model() is None
