"""Evaluating translations."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from langchain_xlm.engines.generator import GeneratedText, Generator
from langchain_xlm.engines.repetition import invented_repetition
from langchain_xlm.errors import ConfigurationError, InputError
from langchain_xlm.evaluation.comet import check_comet, comet_scores
from langchain_xlm.evaluation.examples import ExampleSet
from langchain_xlm.evaluation.intervals import Indices
from langchain_xlm.evaluation.predictions import Prediction
from langchain_xlm.evaluation.sacre import corpus_figures, sentence_chrf
from langchain_xlm.evaluation.similarity import cosine_of_texts
from langchain_xlm.evaluation.systems import System
from langchain_xlm.evaluation.tasks import Detail, Input, Measure, ScoredOutputs, mean_of, need
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import run_flow
from langchain_xlm.text.detection import detect_language
from langchain_xlm.text.languages import find_language, same_language
from langchain_xlm.tools.translation import XLMTranslationTool

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["TranslationTask"]

_TITLES = {"chrf++": "chrF++", "bleu": "BLEU", "ter": "TER"}
# Below this a detected language is a guess, and no evidence of a wrong one.
_CERTAIN = 0.5


@dataclass(frozen=True, kw_only=True)
class TranslationTask:
    """Translations against references.

    Attributes:
        source_language: Language of the texts, by any name.
        target_language: Language of the references, by any name.
        similarity_model: Encoder that compares source and translation; None leaves that out.
        comet_model: COMET checkpoint, such as "Unbabel/wmt22-comet-da"; None leaves it out.
        num_beams: Translations kept in mind at a time; None as the checkpoint has it.
        chunk: How many texts are translated at a time.
    """

    source_language: str
    target_language: str
    similarity_model: str | None = "starter"
    comet_model: str | None = None
    num_beams: int | None = None
    chunk: int = 64
    name: str = "translation"

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is loaded.

        Raises:
            ConfigurationError: The two languages are one, or unknown.
        """
        need("sacrebleu", needed_for="Evaluating translations")
        if self._source == self._target:
            raise ConfigurationError(
                f"{self.source_language!r} and {self.target_language!r} are one language: give two."
            )
        if self.comet_model is not None:
            check_comet()

    @property
    def _source(self) -> str:
        return find_language(self.source_language).tag

    @property
    def _target(self) -> str:
        return find_language(self.target_language).tag

    def identity(self) -> dict[str, Any]:
        """Return the languages and the way of decoding."""
        return {"source": self._source, "target": self._target, "num_beams": self.num_beams}

    def inputs(self, data: ExampleSet) -> list[Input]:
        """Return the sources."""
        return [Input(example.text) for example in data.examples]

    def spec(self, system: System) -> LoadSpec:
        """Return the sequence-to-sequence model of a system."""
        return self._tool(system).load_spec("seq2seq")

    def open(self, system: System) -> _Translator:
        """Return a translator; nothing is loaded yet."""
        return _Translator(self, self._tool(system))

    def baselines(self, data: ExampleSet) -> dict[str, list[Prediction]]:
        """Return the sources as their own translations: what a model that does nothing gets."""
        return {"source copied": [_prediction(example.text) for example in data.examples]}

    def score(self, data: ExampleSet, predictions: Sequence[Prediction]) -> ScoredOutputs:
        """Compare translations with references and sources.

        Args:
            data: The examples.
            predictions: A translation for each.

        Returns:
            chrF++, BLEU, TER, similarity, COMET, the shares of outputs in another language and
            of loops, and the ratio of lengths.
        """
        outputs = [prediction["output"] for prediction in predictions]
        sources = [example.text for example in data.examples]
        references = [example.references for example in data.examples]
        figures = corpus_figures(outputs, references, language=self._target)
        measures = [
            Measure(figure.key, _TITLES[figure.key], figure.statistic, figure.key != "ter", "%")
            for figure in figures
        ]
        if self.similarity_model is not None:
            cosine = cosine_of_texts(sources, outputs, model=self.similarity_model)
            measures.append(Measure("similarity", "Similarity to source", mean_of(cosine)))
        if self.comet_model is not None:
            firsts = [own[0] for own in references]
            judged = comet_scores(sources, outputs, firsts, model=self.comet_model)
            measures.append(Measure("comet", "COMET", mean_of(judged)))
        wrong = _in_wrong_language(outputs, self._target)
        measures += [
            Measure("wrong_language", "Wrong language", mean_of(wrong, scale=100), False, "%"),
            Measure("loops", "Loops", mean_of(_loops(sources, outputs), scale=100), False, "%"),
            Measure("length_ratio", "Length ratio", _length_ratio(outputs, references), None),
        ]
        of_references = _in_wrong_language([own[0] for own in references], self._target)
        return ScoredOutputs(
            tuple(measures),
            tuple(outputs),
            sentence_chrf(outputs, references),
            Detail(
                notes={
                    "wrong_language_of_references": 100 * float(np.nanmean(of_references))
                    if not np.isnan(of_references).all()
                    else float("nan"),
                    "flagged": 100 * float(np.mean([bool(p.get("flags")) for p in predictions])),
                }
            ),
            {figure.key: figure.signature for figure in figures},
        )

    def _tool(self, system: System) -> XLMTranslationTool:
        return XLMTranslationTool(**system.fields(), num_beams=self.num_beams)


class _Translator:
    """A system that translates."""

    def __init__(self, task: TranslationTask, tool: XLMTranslationTool) -> None:
        self._task = task
        self._tool = tool
        self._generator = Generator(tool.load_spec("seq2seq"))

    def predict(self, inputs: Sequence[Input]) -> list[Prediction]:
        """Translate texts; a text that cannot be translated gets an empty output and a reason."""
        try:
            found = self._translate([each.text for each in inputs])
        except InputError:
            return [self._alone(each.text) for each in inputs]
        return [_prediction(text.text, flags=text.flags) for text in found]

    def _alone(self, text: str) -> Prediction:
        try:
            (found,) = self._translate([text])
        except InputError as error:
            return _prediction("", failure=str(error))
        return _prediction(found.text, flags=found.flags)

    def _translate(self, texts: list[str]) -> list[GeneratedText]:
        flow = self._generator.generate(
            texts,
            source=self._task.source_language,
            target=self._task.target_language,
            settings=self._tool.settings(),
        )
        return run_flow(flow, model=self._tool.model)


def _prediction(
    output: str, *, flags: Sequence[str] = (), failure: str | None = None
) -> Prediction:
    made: Prediction = {"output": output}
    if flags:
        made["flags"] = list(flags)
    if failure is not None:
        made["failure"] = failure
    return made


def _in_wrong_language(texts: Sequence[str], target: str) -> NDArray[np.float64]:
    """Tell for each text whether it is in another language: 1, 0, or NaN where nothing tells."""
    found = np.full(len(texts), np.nan)
    for place, text in enumerate(texts):
        detection = detect_language(text)
        if detection is not None:
            strange = not same_language(detection.tag, target)
            found[place] = strange and detection.confidence >= _CERTAIN
    return found


def _loops(sources: Sequence[str], outputs: Sequence[str]) -> NDArray[np.float64]:
    pairs = zip(sources, outputs, strict=True)
    return np.array([float(invented_repetition(source, output) > 0) for source, output in pairs])


def _length_ratio(outputs: Sequence[str], references: Sequence[Sequence[str]]) -> Any:
    """Characters of the outputs over those of the references (their mean, where several)."""
    own = np.array([len(output) for output in outputs], dtype=np.float64)
    other = np.array([np.mean([len(each) for each in texts]) for texts in references])

    def statistic(indices: Indices) -> float:
        return float(own[indices].sum() / other[indices].sum())

    return statistic
