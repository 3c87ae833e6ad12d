from __future__ import annotations

import pytest

from integration_tests.conftest import converted
from langchain_xlm import UnsupportedLanguageError, XLMTranslationTool

SENTENCES = {
    "de": ("The house is small.", "Das Haus ist klein."),
    "fr": ("The house is small.", "La maison est petite."),
}


@pytest.fixture(
    params=[
        # Its main branch has safetensors.
        (
            "facebook/mbart-large-50-many-to-many-mmt",
            "e30b6cb8eb0d43a0b73cab73c7676b9863223a30",
        ),
        # Only pickled weights on their main branches.
        ("facebook/nllb-200-distilled-600M", "refs/pr/45"),
        ("facebook/m2m100_418M", None),
    ],
    ids=["mbart-50", "nllb", "m2m100"],
)
def translate(request):
    model, revision = request.param
    return XLMTranslationTool(model=model, revision=revision or converted(model))


@pytest.mark.parametrize("target", SENTENCES)
def test_a_sentence_that_every_model_knows(translate, target):
    source, expected = SENTENCES[target]
    result = translate.translate(source, target_language=target, source_language="en")
    assert result.text == expected
    assert result.revision


def test_an_unknown_language_is_refused(translate):
    with pytest.raises(UnsupportedLanguageError, match="Klingon"):
        translate.translate("Hello.", target_language="Klingon")


def test_quantized_translation_still_makes_sense():
    translate = XLMTranslationTool(
        model="facebook/mbart-large-50-many-to-many-mmt",
        revision="e30b6cb8eb0d43a0b73cab73c7676b9863223a30",
        quantization="8bit",
    )
    result = translate.translate("The house is small.", "de", "en")
    assert "Haus" in result.text
