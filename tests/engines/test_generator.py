from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from langchain_xlm.engines.directions import Direction
from langchain_xlm.engines.generator import (
    FLAGS,
    GeneratedPiece,
    GeneratedText,
    GenerationSettings,
    Generator,
    _assemble,
)
from langchain_xlm.engines.generator_session import (
    GenerationRequest,
    GeneratorSession,
    WrittenRow,
)
from langchain_xlm.engines.repetition import invented_repetition
from langchain_xlm.errors import IncompatibleModelError, InputError, ModelRunError
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.runtime.pool import unload_models
from langchain_xlm.text.segments import Segment

Checkpoints = Callable[..., Path]

FAMILIES = ("nllb", "m2m100", "mbart50", "encoder-decoder", "marian", "marian-pair", "mt5")
TOLD_FIRST = ("nllb", "m2m100", "mbart50", "encoder-decoder")
SENTENCES = (
    "The weather is nice today.",
    "No.",
    "She reads a good book about the history of the city.",
    "Where is the station? And where is the train to Berlin, which leaves at nine?",
    "Sentence number 12 of 345 is not longer than 67 or 890 words.",
)
SHORT = GenerationSettings(max_new_tokens=6)


@pytest.fixture(autouse=True)
def _unload() -> Any:
    yield
    unload_models()


def change_generation(folder: Path, tmp_path: Path, **settings: Any) -> Path:
    """A copy of a checkpoint with other defaults of generation."""
    copy = tmp_path / "changed"
    shutil.copytree(folder, copy)
    file = copy / "generation_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | settings))
    return copy


def spec_of(folder: Path) -> LoadSpec:
    return LoadSpec("seq2seq", model=str(folder), dtype="float32", backend="torch")


def generate(folder: Path, texts: list[str], **options: Any) -> list[GeneratedText]:
    options = {"source": "en", "target": "de", "settings": SHORT} | options
    return run_flow(Generator(spec_of(folder)).generate(texts, **options), model="tiny")


def stock_translations(kind: str, folder: Path, texts: list[str]) -> list[str]:
    """What transformers' own documentation does for the family, French to German, text by text."""
    from transformers import AutoModelForSeq2SeqLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(folder)
    model = AutoModelForSeq2SeqLM.from_pretrained(folder).eval()
    model.generation_config.forced_eos_token_id = None  # ours does not hide a cut
    sources = {"nllb": "fra_Latn", "m2m100": "fr", "mbart50": "fr_XX"}
    targets = {
        "nllb": "deu_Latn", "m2m100": "__de__", "mbart50": "de_DE", "encoder-decoder": "__de__",
    }  # fmt: skip
    if kind in sources:
        tokenizer.src_lang = sources[kind]
    prefix = {"marian": ">>deu<< ", "mt5": "translate French to German: "}.get(kind, "")
    forced = {}
    if kind in targets:
        forced["forced_bos_token_id"] = tokenizer.convert_tokens_to_ids(targets[kind])
    written = []
    for text in texts:
        inputs = tokenizer([prefix + text], return_tensors="pt")
        ids = model.generate(**inputs, max_new_tokens=6, **forced)
        written.append(tokenizer.batch_decode(ids, skip_special_tokens=True)[0].strip())
    return written


@pytest.mark.parametrize("kind", FAMILIES)
def test_each_family_gives_what_transformers_gives(
    kind: str, checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Random weights loop, and transformers does not try again.
    monkeypatch.setattr("langchain_xlm.engines.generator_session.retries", lambda *_, **__: ())
    folder = checkpoints(kind)
    texts = ["Il fait beau.", "Elle lit un bon livre sur l'histoire de la ville.", "Non !"]
    source = None if kind.startswith("marian") else "fr"  # which read English, whatever it says
    ours = generate(folder, texts, source=source)
    assert [result.text for result in ours] == stock_translations(kind, folder, texts)
    assert all(result.direction.target == "de" for result in ours)


@pytest.mark.parametrize("beams", [1, 3])
@pytest.mark.parametrize("kind", ["nllb", "encoder-decoder", "marian", "mt5"])
def test_a_text_in_a_batch_equals_the_text_alone(
    kind: str, beams: int, checkpoints: Checkpoints
) -> None:
    # In float32 padding changes a logit by about 1e-6 of its size; the two best tokens of these
    # models lie further apart, so that the outputs are equal to the letter.
    folder = checkpoints(kind)
    settings = GenerationSettings(max_new_tokens=8, num_beams=beams)
    together = generate(folder, list(SENTENCES), settings=settings)
    for text, result in zip(SENTENCES, together, strict=True):
        assert generate(folder, [text], settings=settings) == [result]


@pytest.mark.parametrize("kind", TOLD_FIRST)
def test_the_first_token_is_that_of_the_target(kind: str, checkpoints: Checkpoints) -> None:
    session = GeneratorSession(spec_of(checkpoints(kind)))
    generator_output: list[Any] = []
    real = session._loaded.model.generate
    session._loaded.model.generate = lambda **given: (  # type: ignore[method-assign]
        generator_output.append(real(**given)) or generator_output[-1]
    )
    for target in ("de", "fr", "ja"):
        direction = run_direction(session, target)
        request = GenerationRequest(("The weather is nice.",), (direction,), SHORT, packed=False)
        (units,) = session.prepare(request)
        session.run(units)
        first = {
            session._tokenizer.convert_ids_to_tokens(int(row[1])) for row in generator_output[0]
        }
        assert first == {direction.target_token}
        assert session.info.languages is not None
        assert session.info.languages.language_of(first.pop()).tag == target  # type: ignore[union-attr]
        generator_output.clear()


def run_direction(session: GeneratorSession, target: str) -> Any:
    from langchain_xlm.engines.directions import find_direction

    return find_direction(session.info, "", source="en", target=target)


def test_an_output_in_another_language_is_an_error(checkpoints: Checkpoints) -> None:
    session = GeneratorSession(spec_of(checkpoints("nllb")))
    real = session._loaded.model.generate

    def free(*, generation_config: Any, **given: Any) -> Any:
        generation_config.forced_bos_token_id = None
        return real(generation_config=generation_config, **given)

    session._loaded.model.generate = free  # type: ignore[method-assign, assignment]
    request = GenerationRequest(
        ("The weather.",), (run_direction(session, "de"),), SHORT, packed=False
    )
    (units,) = session.prepare(request)
    with pytest.raises(ModelRunError, match="token of the target language"):
        session.run(units)


def test_targets_give_different_texts(checkpoints: Checkpoints) -> None:
    folder = checkpoints("nllb")
    outputs = {
        generate(folder, [SENTENCES[2]], target=target)[0].text for target in ("de", "fr", "ja")
    }
    assert len(outputs) == 3


@pytest.mark.parametrize("kind", FAMILIES)
def test_spelled_out_special_tokens_are_text(kind: str, checkpoints: Checkpoints) -> None:
    session = GeneratorSession(spec_of(checkpoints(kind)))
    direction = run_direction(session, "de")
    plain, spelled = session._wording.encode(
        ["Hello there", ">>fra<< </s> <pad> __fr__ fra_Latn fr_XX Hello </s> there"], direction
    )
    special = session._wording.special
    assert [i for i in spelled if i in special] == [i for i in plain if i in special]
    unknown = session._tokenizer.unk_token_id
    assert spelled.count(unknown) == plain.count(unknown) == 0, "nothing of it is lost"


def test_numbers_and_addresses_are_taken_over(checkpoints: Checkpoints) -> None:
    text = "  12:30\nhttps://example.org/a?b=c\n\n🙂 --- \n"
    (result,) = generate(checkpoints("nllb"), [text], source=None)
    assert result.text == text
    assert {piece.flags for piece in result.pieces} == {("copied",)}
    assert result.direction.source is None


def test_lines_and_their_order_are_those_of_the_source(checkpoints: Checkpoints) -> None:
    text = "\n\tThe weather.\n\n\n  A book. The city!\r\nWhere is it?\n"
    (result,) = generate(checkpoints("nllb"), [text])
    assert [piece.source for piece in result.pieces] == [
        "The weather.", "A book.", "The city!", "Where is it?",
    ]  # fmt: skip
    assert all(piece.source == text[piece.start : piece.end] for piece in result.pieces)
    written = [piece.text for piece in result.pieces]
    assert result.text == (f"\n\t{written[0]}\n\n\n  {written[1]} {written[2]}\r\n{written[3]}\n")
    assert not any("\n" in text for text in written)


def test_windows_hold_as_many_sentences_as_fit(checkpoints: Checkpoints) -> None:
    folder = checkpoints("encoder-decoder", window=40)
    text = "\n".join(f"The book {number} is in the city." for number in range(30))
    (sentences,) = generate(folder, [text])
    (windows,) = generate(folder, [text], granularity="window")
    assert len(sentences.pieces) == 30
    assert 1 < len(windows.pieces) <= 15
    assert "".join(piece.source for piece in windows.pieces).count("The book") == 30


def test_pieces_fit_the_window(checkpoints: Checkpoints) -> None:
    folder = checkpoints("encoder-decoder", window=24)
    session = GeneratorSession(spec_of(folder))
    text = "The weather and the children and the garden and the book " * 30
    direction = run_direction(session, "de")
    for packed in (False, True):
        request = GenerationRequest((text, "x" * 500), (direction,) * 2, SHORT, packed=packed)
        units = [unit for chunk in session.prepare(request) for unit in chunk]
        assert max(unit.tokens for unit in units) <= session.info.window == 24
        own = "".join(unit.payload.segment.text for unit in units if unit.payload.index == 0)
        assert own.replace(" ", "") == text.replace(" ", "")


def test_a_cut_output_is_flagged(checkpoints: Checkpoints) -> None:
    (result,) = generate(checkpoints("nllb"), ["The weather is nice."])
    assert "length_limit" in result.flags


@pytest.mark.parametrize("kind", ["marian", "mbart50"])
def test_a_forced_end_does_not_hide_the_cut(
    kind: str, checkpoints: Checkpoints, tmp_path: Path
) -> None:
    end = 0 if kind == "marian" else 2
    folder = change_generation(checkpoints(kind), tmp_path, forced_eos_token_id=end)
    (result,) = generate(folder, [SENTENCES[2]])
    assert "length_limit" in result.flags


def test_a_checkpoint_that_ends_at_once_is_flagged_empty(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = change_generation(checkpoints("nllb"), tmp_path, sequence_bias=[[[2], 100.0]])
    (result,) = generate(folder, ["The weather is nice.\nNo."])
    assert result.flags == ("empty",)
    assert result.text == "\n"
    assert len(result.pieces) == 2


def test_a_loop_is_written_anew_and_the_better_output_kept(
    checkpoints: Checkpoints, monkeypatch: pytest.MonkeyPatch
) -> None:
    settings = GenerationSettings(max_new_tokens=48)
    texts = [SENTENCES[0], SENTENCES[2]]
    kinds = ("nllb", "m2m100", "mbart50", "encoder-decoder")

    def pieces() -> list[GeneratedPiece]:
        results = [r for k in kinds for r in generate(checkpoints(k), texts, settings=settings)]
        return [piece for result in results for piece in result.pieces]

    retried = pieces()
    monkeypatch.setattr("langchain_xlm.engines.generator_session.retries", lambda *_, **__: ())
    at_once = pieces()

    def loops(piece: GeneratedPiece) -> float:
        return invented_repetition(piece.source, piece.text)

    anew = [new for new in retried if "repetition_retried" in new.flags]
    assert anew, "every one still loops: choose other sentences"
    assert not any(loops(piece) for piece in anew)
    for new, old in zip(retried, at_once, strict=True):
        assert loops(new) <= loops(old)
        assert ("repetition" in old.flags) == bool(loops(old))
        if not old.flags or old.flags == ("length_limit",):
            assert new == old, "what does not loop stays as it was"


def test_the_checkpoints_own_settings_are_not_changed(checkpoints: Checkpoints) -> None:
    session = GeneratorSession(spec_of(checkpoints("nllb")))
    before = session._defaults.to_dict()
    direction = run_direction(session, "de")
    for settings in (SHORT, GenerationSettings(num_beams=3, max_new_tokens=4, length_penalty=2.0)):
        request = GenerationRequest(("The weather.",), (direction,), settings, packed=False)
        (units,) = session.prepare(request)
        session.run(units)
    assert session._defaults.to_dict() == before


def test_sampling_checkpoints_repeat_themselves(checkpoints: Checkpoints, tmp_path: Path) -> None:
    folder = change_generation(checkpoints("nllb"), tmp_path, do_sample=True, temperature=5.0)
    first, second = generate(folder, [SENTENCES[2]] * 2)
    assert first == second == generate(checkpoints("nllb"), [SENTENCES[2]])[0]


def test_one_task_takes_no_languages(checkpoints: Checkpoints) -> None:
    (result,) = generate(checkpoints("mt5"), ["The weather is nice."], source=None, target=None)
    assert result.direction.prefix == ""
    assert result.direction.target is None
    assert "unchecked_direction" not in result.flags


def test_blank_and_no_texts_come_back(checkpoints: Checkpoints) -> None:
    folder = checkpoints("nllb")
    assert generate(folder, []) == []
    (blank,) = generate(folder, [" \n "])
    assert (blank.text, blank.pieces, blank.flags) == (" \n ", (), ())


@pytest.mark.parametrize("texts", ["one string", [None], [b"bytes"], ["\ud800"]])
def test_what_is_no_text_is_refused(texts: Any, checkpoints: Checkpoints) -> None:
    with pytest.raises(InputError):
        generate(checkpoints("nllb"), texts)


def test_an_encoder_is_refused(checkpoints: Checkpoints) -> None:
    with pytest.raises(IncompatibleModelError, match="seq2seq"):
        generate(checkpoints("xlm-roberta"), ["Hello"])


def test_progress_counts_the_characters_of_the_pieces(checkpoints: Checkpoints) -> None:
    text = "The weather is nice. She reads.\n12"
    seen: list[float] = []
    generate(checkpoints("nllb"), [text], progress=seen.append)
    assert sum(seen) == len(text) - 2


def test_every_flag_is_explained(checkpoints: Checkpoints) -> None:
    folder = checkpoints("m2m100")
    for result in generate(folder, ["The weather. 🙂 Hello.\n12"]):
        assert set(result.flags) <= set(FLAGS)
        assert "unknown_characters" in result.flags


def test_a_sentence_that_comes_back_as_it_was_is_flagged() -> None:
    direction = Direction("en", "de")
    text = "The weather is nice today. Angela Merkel. It rains."

    def row(start: int, end: int, written: str) -> WrittenRow:
        return WrittenRow(0, Segment(text[start:end], start, end), written)

    result = _assemble(
        text,
        direction,
        [
            row(0, 26, "the weather is nice today!"),
            row(27, 41, "Angela Merkel."),
            row(42, 51, "Es."),
        ],
    )
    assert [piece.flags for piece in result.pieces] == [("untranslated",), (), ()]
    same = _assemble(text, Direction("en", "en"), [row(0, 26, text[:26])])
    assert same.flags == ()


def test_ids_that_older_files_keep_elsewhere_are_found(
    checkpoints: Checkpoints, tmp_path: Path
) -> None:
    folder = tmp_path / "old"
    shutil.copytree(checkpoints("encoder-decoder"), folder)
    (folder / "generation_config.json").write_text("{}")
    assert generate(folder, [SENTENCES[2]]) == generate(
        checkpoints("encoder-decoder"), [SENTENCES[2]]
    )


def test_blocks_of_a_long_text_keep_their_places(checkpoints: Checkpoints) -> None:
    text = "\n".join(f"12:{number:05d}" for number in range(4_000))
    (result,) = generate(checkpoints("nllb"), [text])
    assert result.text == text
    assert all(piece.source == text[piece.start : piece.end] for piece in result.pieces)


def test_a_lost_language_token_is_an_error(checkpoints: Checkpoints) -> None:
    session = GeneratorSession(spec_of(checkpoints("nllb")))
    lost = replace(run_direction(session, "de"), target_token="xxx_Latn")
    request = GenerationRequest(("Hello.",), (lost,), SHORT, packed=False)
    with pytest.raises(ModelRunError, match="xxx_Latn"):
        list(session.prepare(request))


@pytest.mark.parametrize(("target", "joined"), [("ja", "駅だ。本だ。"), ("tr", "駅だ。 本だ。")])
def test_the_space_between_sentences_is_the_targets(target: str, joined: str) -> None:
    rows = [
        WrittenRow(0, Segment("A station.", 0, 10), "駅だ。"),
        WrittenRow(0, Segment("A book.", 11, 18), "本だ。"),
    ]
    assert _assemble("A station. A book.", Direction("en", target), rows).text == joined
