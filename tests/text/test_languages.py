"""Every language by its own codes and names; nothing ever taken for another."""

from __future__ import annotations

import pickle

import pytest
from langcodes import LANGUAGE_ALPHA3
from langcodes import Language as Subtags
from transformers.models.m2m_100 import tokenization_m2m_100
from transformers.models.mbart50 import tokenization_mbart50
from transformers.models.nllb import tokenization_nllb

from langchain_xlm.errors import ConfigurationError, UnsupportedLanguageError
from langchain_xlm.text.languages import (
    FLORES,
    M2M100,
    MARIAN,
    MBART,
    NAMING_SCHEMES,
    Language,
    ModelLanguages,
    NamingScheme,
    find_language,
    likely_script,
    same_language,
)

NLLB_TOKENS = tuple(tokenization_nllb.FAIRSEQ_LANGUAGE_CODES)
MBART_TOKENS = tuple(tokenization_mbart50.FAIRSEQ_LANGUAGE_CODES)
M2M100_TOKENS = tuple(
    f"__{code}__" for code in tokenization_m2m_100.FAIRSEQ_LANGUAGE_CODES["m2m100"]
)
VOCABULARIES = {
    "nllb": (FLORES, NLLB_TOKENS),
    "mbart50": (MBART, MBART_TOKENS),
    "m2m100": (M2M100, M2M100_TOKENS),
}
STARTER_TOKENS = tuple(f"__{code}__" for code in ("en", "de", "fr", "es", "nl", "ja", "tr", "zh"))


def known_to(model: str) -> ModelLanguages:
    scheme, tokens = VOCABULARIES[model]
    return ModelLanguages.from_vocabulary(scheme, tokens, model)


@pytest.fixture(scope="module")
def nllb() -> ModelLanguages:
    return known_to("nllb")


@pytest.fixture(scope="module")
def mbart() -> ModelLanguages:
    return known_to("mbart50")


@pytest.fixture(scope="module")
def m2m() -> ModelLanguages:
    return known_to("m2m100")


@pytest.fixture(scope="module")
def starter() -> ModelLanguages:
    return ModelLanguages.from_vocabulary(M2M100, ["a", "</s>", *STARTER_TOKENS], "starter")


class TestFindLanguage:
    @pytest.mark.parametrize(
        ("name", "tag"),
        [
            ("fr", "fr"),
            ("fra", "fr"),
            ("fre", "fr"),
            ("ger", "de"),
            ("chi", "zh"),
            ("FR", "fr"),
            ("  fr\n", "fr"),
            ("fra_Latn", "fr"),
            ("fr_XX", "fr"),
            ("fr-CA", "fr-CA"),
            ("fr_ca", "fr-CA"),
            ("__fr__", "fr"),
            (">>fra<<", "fr"),
            (">>pt_BR<<", "pt-BR"),
            ("zh-TW", "zh-TW"),
            ("zho_Hant", "zh-Hant"),
            ("cmn_Hans", "zh-Hans"),
            ("arb", "ar"),
            ("nb", "nb"),
            ("en-u-ca-buddhist", "en"),
            ("French", "fr"),
            ("french", "fr"),
            ("FRENCH", "fr"),
            ("français", "fr"),
            ("franc\u0327ais", "fr"),  # the cedilla as a combining mark
            ("francais", "fr"),
            ("Deutsch", "de"),
            ("日本語", "ja"),
            ("中文", "zh"),
            ("繁體中文", "zh-Hant"),
            ("türkçe", "tr"),
            ("TÜRKÇE", "tr"),
            ("Turkce", "tr"),
            ("ESPAÑOL", "es"),
            ("espanol", "es"),
            ("русский", "ru"),
            ("العربية", "ar"),
            ("हिन्दी", "hi"),
            ("Hindi", "hi"),
            ("Ladino", "lad"),
            ("Mandarin", "zh"),
            ("Farsi", "fa"),
            ("Tagalog", "fil"),
            ("Chinese (Traditional)", "zh-Hant"),
            ("traditional chinese", "zh-Hant"),
            ("chinese simplified", "zh-Hans"),
            ("Brazilian Portuguese", "pt-BR"),
            ("Portuguese (Brazil)", "pt-BR"),
            ("Portuguese, Brazil", "pt-BR"),
            ("Serbian (Latin)", "sr-Latn"),
            ("Canadian French", "fr-CA"),
            ("Twi", "tw"),
            ("Akan", "ak"),
        ],
    )
    def test_names_and_codes(self, name: str, tag: str) -> None:
        assert find_language(name) == Language(tag)

    @pytest.mark.parametrize(
        "name",
        [
            "",
            " ",
            "x",
            "a",
            "xx",
            "zz",
            "frrr",
            "klingonese",
            "und",
            "mul",
            "zxx",
            "qaa",
            "x-foo",
            "french canadian",
            "english please",
            "fra_Latm",
            "auto",
            "auto-detect",
            "none",
            "123",
            "fr--CA",
            "fr-a",
            "____",
            ">><<",
            "Klingon (Nowhere)",
            "Brazilian Portuguese (Latin)",
            "\ud800",
            "\0",
            "French" * 5000,
        ],
    )
    def test_nonsense_is_refused(self, name: str) -> None:
        with pytest.raises(UnsupportedLanguageError) as caught:
            find_language(name)
        assert caught.value.model is None
        assert len(str(caught.value)) < 300

    @pytest.mark.parametrize(
        ("name", "suggestion"),
        [
            ("Frnech", "French (fr)"),
            ("Spansh", "Spanish (es)"),
            ("Germn", "German (de)"),
            ("Englsh", "English (en)"),
            ("Deutch", "German (de)"),
            ("Japanes", "Japanese (ja)"),
            ("Portugues do Brasil", "Portuguese (pt)"),
            ("french canadian", "French (fr)"),
            ("fra_Latm", "French (fr)"),
        ],
    )
    def test_misspelt_names_are_suggested(self, name: str, suggestion: str) -> None:
        with pytest.raises(UnsupportedLanguageError, match="Nearest valid choices") as caught:
            find_language(name)
        assert caught.value.code == name
        assert caught.value.suggestions[0] == suggestion

    def test_a_name_is_never_taken_by_its_beginning(self) -> None:
        for ending in ("ese", "ish", " language of old", "x"):
            with pytest.raises(UnsupportedLanguageError):
                find_language(f"German{ending}")

    def test_names_and_autonyms_of_all_common_languages_mean_them(self) -> None:
        for code in LANGUAGE_ALPHA3:
            if len(code) == 2:
                tag = find_language(code).tag
                for name in (Language(tag).name, Subtags.get(tag).autonym()):
                    found = find_language(name).tag
                    # Their speakers' own name is rather that of a neighbour.
                    grouped = {("bh", "bho"), ("lu", "lua"), ("tw", "ak")}
                    assert found == tag or (tag, found) in grouped, (code, name, found)

    def test_a_language_shows_its_name(self) -> None:
        language = find_language("zh-Hant")
        assert language.name == "Chinese (Traditional)"
        assert str(language) == "Chinese (Traditional) (zh-Hant)"


class TestNamingScheme:
    @pytest.mark.parametrize(
        ("scheme", "token", "code"),
        [
            (FLORES, "fra_Latn", "fra_Latn"),
            (M2M100, "__fr__", "fr"),
            (M2M100, "__ceb__", "ceb"),
            (MBART, "fr_XX", "fr_XX"),
            (MARIAN, ">>cmn_Hans<<", "cmn_Hans"),
            (MARIAN, ">>pt_br<<", "pt_br"),
        ],
    )
    def test_code_of(self, scheme: NamingScheme, token: str, code: str) -> None:
        assert scheme.code_of(token) == code

    @pytest.mark.parametrize(
        "token", ["", "▁the", "</s>", "<unk>", "fr", "__", "fr_", "_Latn", "a_B"]
    )
    def test_other_tokens_are_none_of_it(self, token: str) -> None:
        assert all(scheme.code_of(token) is None for scheme in NAMING_SCHEMES)

    def test_schemes_do_not_overlap(self) -> None:
        for scheme, tokens in VOCABULARIES.values():
            for other in NAMING_SCHEMES:
                matched = [token for token in tokens if other.code_of(token) is not None]
                assert matched == (list(tokens) if other is scheme else [])


class TestVocabularies:
    @pytest.mark.parametrize("model", VOCABULARIES)
    def test_every_token_is_a_language(self, model: str) -> None:
        known = known_to(model)
        tokens = VOCABULARIES[model][1]
        assert len(known.tags) == len(set(known.tags)) == len(tokens)
        assert list(known.tags) == sorted(known.tags)
        assert {entry.token for entry in known.entries} == set(tokens)

    @pytest.mark.parametrize("model", VOCABULARIES)
    def test_own_tokens_codes_tags_and_names_resolve_to_themselves(self, model: str) -> None:
        known = known_to(model)
        scheme, tokens = VOCABULARIES[model]
        for token in tokens:
            code = scheme.code_of(token)
            language = known.language_of(token)
            assert code is not None
            assert language is not None
            for name in (token, code, code.upper(), f" {token} ", language.tag, language.name):
                assert known.resolve(name) == (language, token), name

    def test_three_letter_codes_without_script_resolve_where_one_script_is_known(
        self, nllb: ModelLanguages
    ) -> None:
        codes = [token[:3] for token in NLLB_TOKENS]
        for token in NLLB_TOKENS:
            if codes.count(token[:3]) == 1:
                assert nllb.resolve(token[:3])[1] == token

    def test_common_names_mean_the_same_in_every_vocabulary(
        self, nllb: ModelLanguages, mbart: ModelLanguages, m2m: ModelLanguages
    ) -> None:
        expected = {
            "Arabic": ("arb_Arab", "ar_AR", "__ar__"),
            "Chinese": ("zho_Hans", "zh_CN", "__zh__"),
            "Persian": ("pes_Arab", "fa_IR", "__fa__"),
            "Swahili": ("swh_Latn", "sw_KE", "__sw__"),
            "Estonian": ("est_Latn", "et_EE", "__et__"),
            "Latvian": ("lvs_Latn", "lv_LV", "__lv__"),
            "Azerbaijani": ("azj_Latn", "az_AZ", "__az__"),
            "Pashto": ("pbt_Arab", "ps_AF", "__ps__"),
            "Nepali": ("npi_Deva", "ne_NP", "__ne__"),
            "Mongolian": ("khk_Cyrl", "mn_MN", "__mn__"),
            "Tagalog": ("tgl_Latn", "tl_XX", "__tl__"),
            "Korean": ("kor_Hang", "ko_KR", "__ko__"),
            "en-GB": ("eng_Latn", "en_XX", "__en__"),
            "pt-BR": ("por_Latn", "pt_XX", "__pt__"),
            "es-MX": ("spa_Latn", "es_XX", "__es__"),
            "fr-CA": ("fra_Latn", "fr_XX", "__fr__"),
            "Français": ("fra_Latn", "fr_XX", "__fr__"),
            "fra_Latn": ("fra_Latn", "fr_XX", "__fr__"),
            "__de__": ("deu_Latn", "de_DE", "__de__"),
            "iw": ("heb_Hebr", "he_IL", "__he__"),
        }
        for name, tokens in expected.items():
            assert tuple(known.resolve(name)[1] for known in (nllb, mbart, m2m)) == tokens, name

    @pytest.mark.parametrize(
        ("name", "token"),
        [
            ("zh-TW", "zho_Hant"),
            ("zh-HK", "zho_Hant"),
            ("zh-CN", "zho_Hans"),
            ("zh", "zho_Hans"),
            ("Cantonese", "yue_Hant"),
            ("no", "nob_Latn"),
            ("Norwegian", "nob_Latn"),
            ("nn", "nno_Latn"),
            ("Quechua", "quy_Latn"),
            ("Fulah", "fuv_Latn"),
            ("Dinka", "dik_Latn"),
            ("Oromo", "gaz_Latn"),
            ("Kurdish", "kmr_Latn"),
            ("Sorani", "ckb_Arab"),
            ("Malay", "zsm_Latn"),
            ("Indonesian", "ind_Latn"),
            ("Egyptian Arabic", "arz_Arab"),
            ("Dari", "prs_Arab"),
            ("Twi", "twi_Latn"),
            ("tw", "twi_Latn"),
            ("Akan", "aka_Latn"),
            ("ks", "kas_Arab"),
            ("ks-Deva", "kas_Deva"),
            ("sq", "als_Latn"),
            ("yi", "ydd_Hebr"),
            ("Moldovan", "ron_Latn"),
        ],
    )
    def test_nllb_nearest(self, nllb: ModelLanguages, name: str, token: str) -> None:
        assert nllb.resolve(name)[1] == token

    def test_m2m_own_code_for_northern_sotho(self, m2m: ModelLanguages) -> None:
        for name in ("ns", "nso", "Northern Sotho", "__ns__"):
            assert m2m.resolve(name) == (Language("nso"), "__ns__")

    @pytest.mark.parametrize(
        ("name", "suggestion"),
        [
            ("bs", "Croatian (hr)"),
            ("Serbian", "Croatian (hr)"),
            ("Luxembourgish", "German (de)"),
            ("Egyptian Arabic", "Arabic (ar)"),
            ("Cantonese", "Chinese (zh)"),
            ("zh-TW", "Chinese (zh)"),
            ("az-IR", "Azerbaijani (az)"),
            ("Frnech", "French (fr)"),
        ],
    )
    def test_another_language_or_script_never_stands_in(
        self, mbart: ModelLanguages, name: str, suggestion: str
    ) -> None:
        with pytest.raises(UnsupportedLanguageError, match="mbart50") as caught:
            mbart.resolve(name)
        assert suggestion in caught.value.suggestions
        assert caught.value.model == "mbart50"
        assert caught.value.code == name

    @pytest.mark.parametrize(
        "name", ["Malay", "Guarani", "Norwegian", "Welsh", "Klingon", "Kurdish"]
    )
    def test_no_name_is_suggested_only_because_it_looks_alike(
        self, mbart: ModelLanguages, name: str
    ) -> None:
        with pytest.raises(UnsupportedLanguageError, match="52 languages") as caught:
            mbart.resolve(name)
        assert not {"Malayalam (ml)", "Gujarati (gu)", "Georgian (ka)"} & {
            *caught.value.suggestions
        }

    def test_a_source_may_be_in_another_script(
        self, mbart: ModelLanguages, nllb: ModelLanguages
    ) -> None:
        assert mbart.resolve("zh-TW", any_script=True)[1] == "zh_CN"
        assert nllb.resolve("sr-Latn", any_script=True)[1] == "srp_Cyrl"
        with pytest.raises(UnsupportedLanguageError):
            mbart.resolve("Bosnian", any_script=True)

    def test_a_small_model_suggests_all_it_knows(self, starter: ModelLanguages) -> None:
        with pytest.raises(UnsupportedLanguageError) as caught:
            starter.resolve("Klingon")
        assert len(caught.value.suggestions) == 8
        assert starter.tags == ("de", "en", "es", "fr", "ja", "nl", "tr", "zh")

    def test_a_close_code_is_suggested(self, nllb: ModelLanguages) -> None:
        with pytest.raises(UnsupportedLanguageError) as caught:
            nllb.resolve("fra_Latnn")
        assert "French (fr)" in caught.value.suggestions

    def test_marian_regions_and_scripts_that_tell_languages_apart_are_kept(self) -> None:
        tokens = [">>pt<<", ">>pt_BR<<", ">>cmn_Hans<<", ">>cmn_Hant<<", ">>fra<<", ">>xxx_Yyyy<<"]
        known = ModelLanguages.from_vocabulary(MARIAN, [*tokens, "a", ">>fra<<"], "opus")
        assert known.tags == ("fr", "pt", "pt-BR", "zh-Hans", "zh-Hant")
        assert known.resolve("Brazilian Portuguese")[1] == ">>pt_BR<<"
        assert known.resolve("pt-PT")[1] == ">>pt<<"
        assert known.resolve("zh-TW")[1] == ">>cmn_Hant<<"
        assert known.language_of("a") is None
        assert known.language_of(">>xxx_Yyyy<<") is None

    def test_one_unusual_script_is_kept(self) -> None:
        known = ModelLanguages.from_vocabulary(MBART, ["zh_TW", "sr_ME"], "tuned")
        assert known.tags == ("sr-Latn", "zh-Hant")
        assert known.resolve("zh")[1] == "zh_TW"

    def test_a_macrolanguage_with_several_members_is_not_guessed(self) -> None:
        known = ModelLanguages.from_vocabulary(FLORES, ["quy_Latn", "qul_Latn"], "two")
        with pytest.raises(UnsupportedLanguageError):
            known.resolve("Quechua")

    def test_malay_is_not_indonesian(self) -> None:
        known = ModelLanguages.from_vocabulary(FLORES, ["ind_Latn"], "one")
        with pytest.raises(UnsupportedLanguageError):
            known.resolve("Malay")

    def test_a_vocabulary_without_languages_is_an_error(self) -> None:
        with pytest.raises(ConfigurationError, match="'bert' has no language token of the FLORES"):
            ModelLanguages.from_vocabulary(FLORES, ["the", "##ing"], "bert")

    def test_it_survives_pickling_and_compares_by_value(self, starter: ModelLanguages) -> None:
        assert pickle.loads(pickle.dumps(starter)) == starter
        assert starter == ModelLanguages.from_vocabulary(M2M100, STARTER_TOKENS, "starter")


class TestSameLanguage:
    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("fr", "fr-CA"),
            ("no", "nb"),
            ("nb", "no"),
            ("zh", "cmn"),
            ("sr-Latn", "sr"),
            ("tl", "fil"),
        ],
    )
    def test_yes(self, first: str, second: str) -> None:
        assert same_language(first, second)

    @pytest.mark.parametrize(
        ("first", "second"),
        [
            ("bs", "hr"),
            ("sr", "hr"),
            ("nn", "nb"),
            ("ms", "id"),
            ("de", "gsw"),
            ("zh", "yue"),
            ("ar", "arz"),
        ],
    )
    def test_no(self, first: str, second: str) -> None:
        assert not same_language(first, second)

    @pytest.mark.parametrize(
        ("tag", "script"), [("zh", "Hans"), ("zh-TW", "Hant"), ("ko-Hang", "Kore"), ("ko", "Kore")]
    )
    def test_likely_script(self, tag: str, script: str) -> None:
        assert likely_script(tag) == script
