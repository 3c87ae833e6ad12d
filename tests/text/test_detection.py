"""The right language among those allowed, from any thread; never one that was not allowed."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
from hypothesis import given
from hypothesis import strategies as st
from py3langid.langid import MODEL_FILE, LanguageIdentifier

from langchain_xlm.text.detection import Detection, detect_language
from langchain_xlm.text.languages import FLORES, ModelLanguages, find_language
from tests.text.test_languages import NLLB_TOKENS

STARTER = ("de", "en", "es", "fr", "ja", "nl", "tr", "zh")
SENTENCES = {
    "de": "Der Hund läuft schnell über die Straße und bellt laut.",
    "en": "The dog runs quickly across the street and barks loudly.",
    "es": "El perro corre rápidamente por la calle y ladra muy fuerte.",
    "fr": "Le chien court rapidement dans la rue et aboie très fort.",
    "ja": "犬が通りを速く走り、大きな声で吠えています。",
    "nl": "De hond rent snel over de straat en blaft heel hard.",
    "tr": "Köpek sokakta hızla koşuyor ve yüksek sesle havlıyor.",
    "zh": "狗在街上跑得很快，还大声地叫着。",
}


def detected(text: str, among: tuple[str, ...] | None = None) -> Detection:
    found = detect_language(text, among)
    assert found is not None
    return found


@pytest.mark.parametrize("tag", SENTENCES)
def test_plain_sentences(tag: str) -> None:
    found = detected(SENTENCES[tag], STARTER)
    assert found.tag == tag
    assert 0.9 < found.confidence <= 1
    assert found.outside is None


@pytest.mark.parametrize("text", ["", " \n", "123, 45.6", "😀😀", "…!?", "\u0301", "２０２６"])
def test_nothing_to_tell_without_letters(text: str) -> None:
    assert detect_language(text) is None
    assert detect_language(text, STARTER) is None


def test_nothing_to_tell_without_a_known_feature() -> None:
    assert detect_language("A") is None


def test_nothing_to_tell_where_the_detector_knows_none_of_the_languages() -> None:
    assert detect_language(SENTENCES["en"], ["tlh", "tzm-Tfng"]) is None
    assert detect_language(SENTENCES["en"], []) is None


def test_tags_are_spelt_as_given() -> None:
    nllb = ModelLanguages.from_vocabulary(FLORES, NLLB_TOKENS, "nllb").tags
    assert detected("Hvordan har du det i dag? Jeg liker å gå på ski.", nllb).tag == "nb"
    assert detected("Eg veit ikkje kva eg skal gjera i dag.", nllb).tag == "nn"
    assert detected("안녕하세요 반갑습니다", nllb).tag == "ko"
    assert detected("Magandang umaga sa inyong lahat, kumusta kayo?", nllb).tag == "fil"
    assert detected("Ez ji te hez dikim û tu çawa yî, hevalê min?", nllb).tag == "ku"
    for sentence in SENTENCES.values():
        assert detected(sentence, nllb).tag in nllb
    assert detected(SENTENCES["fr"], ("fr-CA", "en-GB")).tag == "fr-CA"
    assert detected("Bom dia, tudo bem com vocês hoje?", ("pt-BR", "pt", "es")).tag == "pt"


@pytest.mark.parametrize(
    ("text", "tag"),
    [
        ("今天天氣很好，我們去公園吧。", "zh-Hant"),
        ("今天天气很好，我们去公园吧。", "zh-Hans"),
        ("Здраво свете, како сте данас? Ја сам из Београда.", "sr-Cyrl"),
        ("Zdravo svete, kako ste danas? Ja sam iz Beograda.", "sr-Latn"),
    ],
)
def test_the_script_decides_between_two_of_one_language(text: str, tag: str) -> None:
    among = ("en", "sr-Cyrl", "sr-Latn", "zh-Hans", "zh-Hant")
    assert detected(text, among).tag == tag
    assert detected(text, among[::-1]).tag == tag


def test_chinese_without_restriction_says_its_script() -> None:
    assert detected("今天天氣很好，我們去公園吧。").tag == "zh-Hant"
    assert detected("今天天气很好，我们去公园吧。").tag == "zh-Hans"


@pytest.mark.parametrize(
    ("text", "outside"),
    [
        ("안녕하세요 반갑습니다 오늘은 날씨가 좋네요", "ko"),
        ("Привет, как дела? Сегодня хорошая погода", "ru"),
        ("Hvordan har du det i dag? Jeg liker å gå på ski", "no"),
    ],
)
def test_a_text_in_none_of_the_languages_says_so(text: str, outside: str) -> None:
    found = detected(text, STARTER)
    assert found.tag in STARTER
    assert found.outside == outside
    assert detected(text, (*STARTER, outside)).outside is None


def test_shares_too_small_for_a_float_still_compare() -> None:
    text = "안녕하세요 반갑습니다 오늘은 날씨가 좋네요. " * 500
    found = detected(text, ("en", "zh"))
    assert found.tag == "zh"
    assert 0 <= found.confidence <= 1
    assert found.outside == "ko"


def test_the_end_of_a_long_text_counts() -> None:
    text = "Hello. " + SENTENCES["ja"] * 100_000
    assert detected(text, STARTER).tag == "ja"


def test_every_label_of_the_detector_is_a_language() -> None:
    labels = set(LanguageIdentifier.from_model_file(MODEL_FILE).labels) - {"zxx"}
    assert {find_language(label).tag for label in labels} >= {"fr", "zh", "fil", "no"}


def test_threads_with_other_restrictions_do_not_disturb_each_other() -> None:
    jobs = [
        (SENTENCES[tag], tuple(sorted({tag, other})))
        for tag in SENTENCES
        for other in SENTENCES
        if tag != other
    ] * 8
    alone = [detect_language(text, among) for text, among in jobs]
    with ThreadPoolExecutor(8) as pool:
        together = list(pool.map(lambda job: detect_language(*job), jobs))
    assert together == alone
    assert all(
        found is not None and found.tag in among
        for found, (_, among) in zip(together, jobs, strict=True)
    )


@given(
    st.text(min_size=1), st.sets(st.sampled_from(["en", "fr", "zh-Hant", "tlh", "sr-Latn", "ar"]))
)
def test_any_text_gives_an_allowed_language_or_none(text: str, among: set[str]) -> None:
    found = detect_language(text, sorted(among))
    if found is not None:
        assert found.tag in among
        assert 0 <= found.confidence <= 1
        assert found.outside not in among
