"""The tool that judges the sentiment of a text."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, Field

from langchain_xlm.engines.classifier import ClassifiedText, Classifier, ClassifierInfo
from langchain_xlm.engines.labels import (
    NOT_SENTIMENT,
    OTHER_LABELS,
    UNKNOWN_MEANING,
    LabelReading,
    read_labels,
)
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.runtime.flow import Flow
from langchain_xlm.tools.results import ScoredPiece, SentimentResult
from langchain_xlm.tools.tool import CheckedText, XLMTool

MULTI_LABEL = "multi_label"

NOTES = {
    UNKNOWN_MEANING: "The model does not say what its labels mean.",
    NOT_SENTIMENT: "The model's labels mean something other than sentiment.",
    OTHER_LABELS: "The model has labels besides negative, neutral and positive.",
    MULTI_LABEL: "Each label is scored by itself; the scores need not sum to 1.",
}
"""What each flag of a `SentimentResult` means, in the words that the agent reads."""


class SentimentArguments(BaseModel):
    """What an agent passes to `xlm_sentiment`."""

    text: CheckedText = Field(
        description="The text to judge, in any language and of any length, as it is: do not"
        " translate, shorten or summarize it first."
    )


class XLMSentimentTool(XLMTool):
    """Judges whether a text is negative, neutral or positive, with all scores.

    Example:
        ```python
        XLMSentimentTool().invoke({"text": "Ich liebe dieses Restaurant."})
        ```
    """

    name: str = "xlm_sentiment"
    description: str = (
        "Judge the sentiment of a text in any of many languages: negative, neutral or positive,"
        " with a score from 0 to 1 for each. Use it for reviews, comments, messages and other"
        " opinions. It runs locally. Call it once for each text that needs its own judgement."
    )
    args_schema: type[BaseModel] = SentimentArguments
    label_meanings: dict[str, str] | None = None
    """What the labels of the checkpoint mean, where their names do not say it, such as
    `{"LABEL_0": "negative", "LABEL_1": "positive"}`. Names that state a sentiment (POS, Negative,
    5 stars) are understood without."""

    def specs(self) -> tuple[LoadSpec, ...]:
        """Return what the tool loads when it is used."""
        return (self.load_spec("classifier"),)

    def flow(self, text: str) -> Flow[tuple[str, dict[str, Any]]]:
        """Judge one text.

        Args:
            text: Any length, not blank.

        Yields:
            Futures to wait for.

        Returns:
            A sentence with the label and the scores, and a `SentimentResult` as a dict.
        """
        classifier = Classifier(self.load_spec("classifier"))
        info = yield from classifier.info()
        reading = read_labels(info.labels, model=self.model, meanings=self.label_meanings)
        (classified,) = yield from classifier.classify([text])
        result = _result(classified, info, reading, model=self.model)
        return describe_sentiment(result), result.artifact()


def describe_sentiment(result: SentimentResult) -> str:
    """Put a result into words.

    Args:
        result: What the tool found.

    Returns:
        One line: the label, all scores and what the flags mean.
    """
    scores = ", ".join(f"{label} {score:.2f}" for label, score in result.scores.items())
    sentences = [f"{result.label} ({result.scores[result.label]:.2f}). Scores: {scores}."]
    if len(result.pieces) > 1:
        sentences.append(f"Mean of {len(result.pieces)} pieces, weighted by length.")
    sentences += [NOTES[flag] for flag in result.flags]
    return " ".join(sentences)


def _result(
    classified: ClassifiedText, info: ClassifierInfo, reading: LabelReading, *, model: str
) -> SentimentResult:
    exclusive = not info.multi_label
    scores = reading.gather(classified.scores, exclusive=exclusive)
    return SentimentResult(
        label=max(scores, key=scores.__getitem__),
        scores=scores,
        checkpoint_scores=classified.scores,
        pieces=tuple(
            ScoredPiece(
                text=piece.text,
                start=piece.start,
                end=piece.end,
                tokens=piece.tokens,
                scores=reading.gather(piece.scores, exclusive=exclusive),
            )
            for piece in classified.pieces
        ),
        flags=reading.flags if exclusive else (*reading.flags, MULTI_LABEL),
        model=model,
        revision=info.revision,
    )
