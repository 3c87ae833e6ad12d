"""A checkpoint rewritten for CTranslate2, and whether the copy computes what the original does."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import ModelLoadError
from langchain_xlm.models.generation_defaults import complete_defaults
from langchain_xlm.models.loading import LoadedModel
from langchain_xlm.models.rounding import round_copy

if TYPE_CHECKING:
    import ctranslate2

__all__ = [
    "BOUNDS",
    "SENTENCES",
    "Reference",
    "difference",
    "references",
    "save_copy",
    "spell",
    "write_copy",
]

BOUNDS = {"float32": 0.01, "int8": 0.3}
"""How far the log-probabilities of the original's own output may lie from the copy's, on average
over the tokens. Float32 differs by rounding alone, which stays below 0.001; 8 bits differ by what
they leave out. A wrong conversion differs by several units."""

# What CTranslate2 4.8's converters read from a configuration and transformers 5 does not say, or
# says otherwise. mBART normalizes in front of each block, and its embeddings; the settings are
# gone. mT5 does not scale its last states, which the converter tells by untied embeddings;
# transformers 5 calls them tied.
_FOR_CONVERTERS: Mapping[str, Mapping[str, Any]] = {
    "mbart": {"normalize_before": True, "normalize_embedding": True},
    "mt5": {"tie_word_embeddings": False},
}

SENTENCES = (
    "Where is the station? The train to Berlin leaves at nine.",
    "No.",
    "Das Buch über die Geschichte der Stadt hat 312 Seiten, und sie liest es an einem Tag.",
    "今日は天気が良くて、子供たちは庭で遊んでいます。",
)
"""What a copy is compared with its original on."""
_TOKENS = 24


@dataclass(frozen=True, slots=True)
class Reference:
    """What the original model writes for one sentence.

    Attributes:
        source: Tokens of the sentence.
        target: Tokens that the model wrote for it.
        scores: Log-probabilities of every token of the vocabulary at each place of `target`,
            `(places, vocabulary)`.
    """

    source: list[int]
    target: list[int]
    scores: Any


def spell(token: int, pad: int | None) -> str:
    """Name a token to CTranslate2, whose vocabulary is made of strings.

    The copy's vocabulary holds numbers instead of pieces: texts become ids here as they do for
    the original, by one tokenizer, and no two pieces can be confused.

    Args:
        token: Its id.
        pad: The id of padding, by the name of which a converter finds it.

    Returns:
        Its name.
    """
    return "<pad>" if token == pad else str(token)


class _Numbers:
    """What a converter asks of a tokenizer, answered with numbers for pieces."""

    num_madeup_words = 0

    def __init__(self, loaded: LoadedModel) -> None:
        ids = complete_defaults(loaded.generation_config, loaded.config, loaded.tokenizer)
        head: Any = loaded.model.get_output_embeddings()
        self._rows = int(head.weight.shape[0])
        self._pad = ids.pad_token_id
        self.special_tokens_map: dict[str, Any] = {}
        self.pad_token = spell(ids.pad_token_id, self._pad)
        ends = ids.eos_token_id
        self.eos_token = spell(ends[0] if isinstance(ends, list) else ends, self._pad)
        self.unk_token = spell(loaded.tokenizer.unk_token_id, self._pad)
        first = ids.bos_token_id
        self.bos_token = self.eos_token if first is None else spell(first, self._pad)

    def get_vocab(self) -> dict[str, int]:
        return {spell(token, self._pad): token for token in range(self._rows)}

    def convert_ids_to_tokens(self, token: int) -> str:
        return spell(token, self._pad)


def write_copy(loaded: LoadedModel, source: Path, folder: Path, *, weights: str) -> None:
    """Write a model in CTranslate2's format.

    Args:
        loaded: The model in float32; its configuration is changed by the converter, so it should
            not be used any more.
        source: The folder of its config.json.
        folder: Where to write; must not exist.
        weights: "float32" or "int8".

    Raises:
        ModelLoadError: The installed versions cannot convert it.
        OSError: The folder cannot be written.
    """
    from ctranslate2.converters import TransformersConverter

    class Converter(TransformersConverter):  # type: ignore[misc]  # which has no types
        """The converter, given the model in memory instead of a name to load again."""

        def load_model(self, *_: Any, **__: Any) -> Any:
            return loaded.model

        def load_tokenizer(self, *_: Any, **__: Any) -> Any:
            return _Numbers(loaded)

    for name, value in _FOR_CONVERTERS.get(loaded.config.model_type, {}).items():
        setattr(loaded.config, name, value)
    save_copy(loaded, Converter(str(source))._load, folder, weights=weights)
    assert loaded.model.generation_config is not None
    loaded.model.generation_config.to_json_file(folder / "generation_config.json")


def save_copy(
    loaded: LoadedModel, describe: Callable[[], Any], folder: Path, *, weights: str
) -> None:
    """Save what a converter makes of a model.

    Args:
        loaded: The model.
        describe: Makes CTranslate2's specification of it.
        folder: Where to write; must not exist.
        weights: "float32" or "int8".

    Raises:
        ModelLoadError: The installed versions cannot convert it.
        OSError: The folder cannot be written.
    """
    import ctranslate2
    import transformers

    try:
        copy = describe()
        copy.validate()
        copy.optimize(None)  # equal weights become one
        if weights == "int8":
            round_copy(copy)
        folder.mkdir()
        copy.save(str(folder))
    except OSError:
        raise
    except Exception as error:
        # Converters reach into the model's modules, which any release may have renamed.
        raise ModelLoadError(
            loaded.spec.model,
            f"CTranslate2 {ctranslate2.__version__} could not convert it as transformers"
            f" {transformers.__version__} loads it ({type(error).__name__}: {error}). Give"
            " backend='torch'.",
        ) from error


def references(loaded: LoadedModel) -> list[Reference]:
    """Have the original write a few sentences.

    Args:
        loaded: The model in float32, on the CPU.

    Returns:
        One reference for each sentence, decoded greedily.
    """
    import torch
    from transformers import GenerationConfig

    model: Any = loaded.model
    ids = complete_defaults(model.generation_config, loaded.config, loaded.tokenizer)
    forced = None
    if loaded.family.target == "first-token" and loaded.language_tokens:
        forced = loaded.tokenizer.convert_tokens_to_ids(loaded.language_tokens[0])
    settings = GenerationConfig(
        max_new_tokens=_TOKENS,
        forced_bos_token_id=forced,
        decoder_start_token_id=ids.decoder_start_token_id,
        eos_token_id=ids.eos_token_id,
        pad_token_id=ids.pad_token_id,
    )
    found = []
    # As the stock way reads the model's own settings where a given one is None.
    own, model.generation_config = model.generation_config, GenerationConfig()
    try:
        for source in loaded.tokenizer(list(SENTENCES))["input_ids"]:
            given = torch.tensor([source])
            with torch.inference_mode():
                written = model.generate(input_ids=given, generation_config=settings)
                logits = model(input_ids=given, decoder_input_ids=written).logits[0]
            target = written[0, 1:].tolist()
            found.append(Reference(list(source), target, logits[: len(target)].float()))
    finally:
        model.generation_config = own
    return found


def difference(
    translator: ctranslate2.Translator, given: list[Reference], folder: Path, pad: int | None
) -> float:
    """Compare a copy with what its original wrote.

    Args:
        translator: The copy.
        given: What the original wrote.
        folder: The copy's files.
        pad: The id of padding.

    Returns:
        Mean absolute difference of the log-probabilities of the original's tokens; the token that
        is forced in front counts like the others.
    """
    vocabulary = json.loads((folder / "shared_vocabulary.json").read_text(encoding="utf-8"))
    scored = translator.score_batch(
        [[spell(token, pad) for token in each.source] for each in given],
        [[spell(token, pad) for token in each.target] for each in given],
        max_input_length=0,
    )
    far = []
    for each, score in zip(given, scored, strict=True):
        # A converter may leave out rows that are never written (Marian's padding).
        exact = each.scores[:, : len(vocabulary)].log_softmax(-1)
        for place, token in enumerate(each.target):
            far.append(abs(float(exact[place, token]) - score.log_probs[place]))
    return float(sum(far) / len(far))
