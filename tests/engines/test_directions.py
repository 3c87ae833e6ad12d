from __future__ import annotations

from dataclasses import replace

import pytest

from langchain_xlm.engines.directions import ModelInfo, find_direction
from langchain_xlm.errors import InputError, UnsupportedLanguageError
from langchain_xlm.models.families import FAMILIES
from langchain_xlm.text.languages import ModelLanguages

TOKENS = {
    "NLLB": ["eng_Latn", "fra_Latn", "deu_Latn", "zho_Hans", "zho_Hant", "jpn_Jpan"],
    "M2M100": ["__en__", "__fr__", "__de__", "__zh__"],
    "mBART-50": ["en_XX", "fr_XX", "de_DE", "zh_CN"],
    "encoder-decoder": ["__en__", "__fr__", "__de__", "__ja__"],
    "Marian": [">>fra<<", ">>deu<<", ">>spa<<"],
}


def info(name: str, *, named: bool = True) -> ModelInfo:
    family = next(family for family in FAMILIES if family.name == name)
    languages = None
    if named and family.naming is not None:
        languages = ModelLanguages.from_vocabulary(family.naming, TOKENS[name], "some/model")
    return ModelInfo("some/model", None, family, languages, 128)


@pytest.mark.parametrize(
    ("name", "code", "token"),
    [("NLLB", "eng_Latn", "fra_Latn"), ("M2M100", "en", "__fr__"), ("mBART-50", "en_XX", "fr_XX")],
)
def test_models_with_a_source_language_are_told_both(name: str, code: str, token: str) -> None:
    found = find_direction(info(name), "Hello there", source="English", target="fr-CA")
    assert (found.source, found.target) == ("en", "fr")
    assert (found.source_code, found.target_token, found.forced) == (code, token, True)
    assert found.detected is None
    assert found.prefix == ""


def test_a_model_without_source_languages_is_told_the_target_alone() -> None:
    found = find_direction(info("encoder-decoder"), "Hello", source="en", target="French")
    assert (found.source_code, found.target_token, found.forced) == (None, "__fr__", True)


def test_a_token_goes_in_front_of_the_source() -> None:
    marian = replace(info("Marian"), fixed_source="en")
    found = find_direction(marian, "Hello", source=None, target="French")
    assert (found.source, found.prefix, found.forced) == ("en", ">>fra<< ", False)
    assert found.detected is None, "there is nothing to detect"


def test_words_of_a_prompt_name_the_languages() -> None:
    found = find_direction(info("mT5"), "Hello {text}", source="en", target="zh-Hant")
    assert found.prefix == "translate English to Chinese (Traditional): "
    assert found.suffix == ""
    assert found.flags == ("unchecked_direction",)


def test_one_task_needs_no_languages() -> None:
    found = find_direction(info("mT5"), "This is an English text.", source=None, target=None)
    assert (found.target, found.target_token, found.prefix, found.flags) == (None, None, "", ())
    assert found.source == "en", "which splits its sentences"


@pytest.mark.parametrize("source", [None, "en-GB", "eng"])
def test_a_pair_takes_its_own_direction(source: str | None) -> None:
    pair = replace(info("Marian", named=False), fixed_source="en", fixed_target="de")
    found = find_direction(pair, "Hello", source=source, target="deu_Latn")
    assert (found.source, found.target, found.prefix, found.flags) == ("en", "de", "", ())


@pytest.mark.parametrize(
    ("source", "target", "code", "valid"),
    [("en", "French", "French", "German (de)"), ("fr", "de", "fr", "English (en)")],
)
def test_a_pair_refuses_another_direction(source: str, target: str, code: str, valid: str) -> None:
    pair = replace(info("Marian", named=False), fixed_source="en", fixed_target="de")
    with pytest.raises(UnsupportedLanguageError, match="some/model") as caught:
        find_direction(pair, "Hello", source=source, target=target)
    assert caught.value.code == code
    assert caught.value.suggestions == (valid,)


def test_detection_is_restricted_to_what_the_model_reads() -> None:
    text = "Das Wetter ist heute schön und die Kinder spielen im Garten."
    found = find_direction(info("M2M100"), text, source=None, target="en")
    assert found.source == "de"
    assert found.detected is not None
    assert found.detected.confidence > 0.9
    assert found.flags == ()


def test_a_text_in_no_language_of_the_model_is_refused() -> None:
    text = "오늘은 날씨가 좋아서 아이들이 마당에서 놀고 있습니다. 우리는 산책을 하러 갑니다."
    with pytest.raises(UnsupportedLanguageError, match="Korean") as caught:
        find_direction(info("M2M100"), text, source=None, target="en")
    assert "source language" in str(caught.value)


def test_a_named_source_is_not_detected_against() -> None:
    text = "오늘은 날씨가 좋아서 아이들이 마당에서 놀고 있습니다. 우리는 산책을 하러 갑니다."
    assert find_direction(info("M2M100"), text, source="zh", target="en").source == "zh"


def test_a_text_without_letters_has_no_language() -> None:
    found = find_direction(info("NLLB"), "12 + 30 = 42 🙂", source=None, target="fr")
    assert (found.source, found.source_code, found.detected) == (None, None, None)


def test_letters_that_show_no_language_ask_for_its_name() -> None:
    with pytest.raises(InputError, match="name it as the source language"):
        find_direction(info("NLLB"), "ᚠ", source=None, target="fr")


@pytest.mark.parametrize("side", ["source", "target"])
def test_unknown_and_misspelt_languages_are_named(side: str) -> None:
    languages = {"source": "en", "target": "de"} | {side: "Frnech"}
    with pytest.raises(UnsupportedLanguageError) as caught:
        find_direction(info("NLLB"), "Hello", **languages)
    assert caught.value.code == "Frnech"
    assert "French (fr)" in caught.value.suggestions


def test_a_misspelt_target_is_reported_before_an_unknown_source() -> None:
    with pytest.raises(UnsupportedLanguageError, match="Frnech"):
        find_direction(info("NLLB"), "ᚠ", source=None, target="Frnech")


def test_a_source_may_be_in_another_script_but_not_a_target() -> None:
    assert find_direction(info("mBART-50"), "x", source="zh-TW", target="en").source_code == "zh_CN"
    with pytest.raises(UnsupportedLanguageError):
        find_direction(info("mBART-50"), "x", source="en", target="zh-TW")


def test_a_model_says_what_it_reads_and_writes() -> None:
    pair = replace(info("Marian", named=False), fixed_source="en", fixed_target="de")
    assert (pair.sources, pair.targets) == (("en",), ("de",))
    assert info("Marian").sources is None, "its tokens name targets"
    assert info("Marian").targets == ("de", "es", "fr")
    assert info("M2M100").sources == info("M2M100").targets == ("de", "en", "fr", "zh")
    assert info("mT5").sources is info("mT5").targets is None
