"""Evaluating summaries, always beside what costs nothing: the first sentences, and any."""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np

from langchain_xlm.engines.extractive import document_sentences, join_sentences
from langchain_xlm.errors import InputError
from langchain_xlm.evaluation.examples import ExampleSet
from langchain_xlm.evaluation.intervals import Indices, Statistic
from langchain_xlm.evaluation.predictions import Prediction
from langchain_xlm.evaluation.rouge import rouge_scores
from langchain_xlm.evaluation.similarity import cosine_of_texts
from langchain_xlm.evaluation.systems import System
from langchain_xlm.evaluation.tasks import Input, Measure, ScoredOutputs, mean_of, need
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.text.detection import detect_language
from langchain_xlm.tools.summarization import XLMSummarizationTool

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["SummarizationTask"]

_TITLES = {"rouge1": "ROUGE-1", "rouge2": "ROUGE-2", "rougeL": "ROUGE-L"}
# Enough references to tell their language.
_ENOUGH = 50


@dataclass(frozen=True, kw_only=True)
class SummarizationTask:
    """Summaries against references.

    Attributes:
        sentences: How long summaries may be, those of the baselines as well.
        strategy: "extractive" takes the model as the encoder, "abstractive" as a
            sequence-to-sequence checkpoint that writes.
        prompt: What such a checkpoint wants in front of a document.
        language: Language of the summaries, by its tag; None detects it from the references.
        similarity_model: Encoder that compares meanings; None leaves that out.
        seed: Seed of the sentences of the random baseline.
        chunk: How many documents are summarized at a time.
    """

    sentences: int = 3
    strategy: Literal["extractive", "abstractive"] = "extractive"
    prompt: str = ""
    language: str | None = None
    similarity_model: str | None = "starter"
    seed: int = 0
    chunk: int = 16
    name: str = "summarization"

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is loaded."""
        need("rouge_score", needed_for="Evaluating summaries")

    def identity(self) -> dict[str, Any]:
        """Return what a summary depends on."""
        return {"sentences": self.sentences, "strategy": self.strategy, "prompt": self.prompt}

    def inputs(self, data: ExampleSet) -> list[Input]:
        """Return the documents."""
        return [Input(example.text) for example in data.examples]

    def spec(self, system: System) -> LoadSpec:
        """Return the model that a system summarizes with."""
        return self._tool(system).specs()[0]

    def open(self, system: System) -> _Summarizer:
        """Return a summarizer; nothing is loaded yet."""
        return _Summarizer(self._tool(system))

    def baselines(self, data: ExampleSet) -> dict[str, list[Prediction]]:
        """Return the first sentences of each document, and as many drawn at random."""
        generator = random.Random(self.seed)
        lead: list[Prediction] = []
        drawn: list[Prediction] = []
        for example in data.examples:
            found = detect_language(example.text)
            language = found.tag if found else None
            segments = document_sentences(example.text, language)
            count = min(self.sentences, len(segments))
            some = sorted(generator.sample(range(len(segments)), count))
            for made, places in ((lead, list(range(count))), (drawn, some)):
                text = join_sentences(example.text, segments, places, language)
                made.append({"output": text})
        return {f"lead-{self.sentences}": lead, f"random-{self.sentences}": drawn}

    def score(self, data: ExampleSet, predictions: Sequence[Prediction]) -> ScoredOutputs:
        """Compare summaries with references and documents.

        Args:
            data: The examples.
            predictions: A summary for each.

        Returns:
            ROUGE-L, -1 and -2, similarity to reference and document, and compression.
        """
        outputs = [prediction["output"] for prediction in predictions]
        documents = [example.text for example in data.examples]
        references = [example.references for example in data.examples]
        rouge = rouge_scores(outputs, references, language=self.language or _language(references))
        measures = [
            Measure(key, _TITLES[key], mean_of(rouge.f1[key]), True, "%")
            for key in ("rougeL", "rouge1", "rouge2")
        ]
        if self.similarity_model is not None:
            near = _nearest_reference(outputs, references, model=self.similarity_model)
            to_source = cosine_of_texts(documents, outputs, model=self.similarity_model)
            measures += [
                Measure("reference_similarity", "Similarity to reference", mean_of(near)),
                Measure("source_similarity", "Similarity to document", mean_of(to_source)),
            ]
        measures.append(
            Measure(
                "compression", "Length of the document kept", _kept(outputs, documents), None, "%"
            )
        )
        return ScoredOutputs(
            tuple(measures),
            tuple(outputs),
            rouge.f1["rougeL"],
            signatures=dict.fromkeys(_TITLES, rouge.signature),
        )

    def _tool(self, system: System) -> XLMSummarizationTool:
        return XLMSummarizationTool(
            **system.fields(),
            strategy=self.strategy,
            prompt=self.prompt,
            max_sentences=self.sentences,
            handle_tool_error=False,
        )


class _Summarizer:
    """A system that summarizes."""

    def __init__(self, tool: XLMSummarizationTool) -> None:
        self._tool = tool

    def predict(self, inputs: Sequence[Input]) -> list[Prediction]:
        """Summarize documents; one that cannot be gets an empty summary and a reason."""
        calls = [
            {
                "type": "tool_call",
                "id": str(number),
                "name": self._tool.name,
                "args": {"text": each.text},
            }
            for number, each in enumerate(inputs)
        ]
        found = self._tool.batch(cast("Any", calls), return_exceptions=True)
        return [_prediction(outcome) for outcome in found]


def _prediction(outcome: Any) -> Prediction:
    if isinstance(outcome, Exception):
        if isinstance(outcome.__cause__, InputError):
            return {"output": "", "failure": str(outcome)}
        raise outcome.__cause__ or outcome
    if outcome.status == "error":  # pydantic refused the text
        return {"output": "", "failure": outcome.text}
    made: Prediction = {"output": outcome.artifact["text"]}
    if outcome.artifact["flags"]:
        made["flags"] = outcome.artifact["flags"]
    return made


def _language(references: Sequence[Sequence[str]]) -> str | None:
    found = detect_language(" ".join(own[0] for own in references[:_ENOUGH]))
    return found.tag if found else None


def _nearest_reference(
    outputs: Sequence[str], references: Sequence[Sequence[str]], *, model: str
) -> NDArray[np.float64]:
    """Compare each summary with each of its references; the nearest counts."""
    owners = np.repeat(np.arange(len(outputs)), [len(own) for own in references])
    flat = [text for own in references for text in own]
    cosine = cosine_of_texts([outputs[place] for place in owners.tolist()], flat, model=model)
    nearest = np.full(len(outputs), -np.inf)
    np.maximum.at(nearest, owners, cosine)  # NaN, of an empty summary, stays
    return nearest


def _kept(outputs: Sequence[str], documents: Sequence[str]) -> Statistic:
    own = np.array([len(output) for output in outputs], dtype=np.float64)
    whole = np.array([len(document) for document in documents], dtype=np.float64)

    def statistic(indices: Indices) -> float:
        return float(100 * own[indices].sum() / whole[indices].sum())

    return statistic
