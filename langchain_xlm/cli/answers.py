"""The tools as a command calls them, and how their answers are written out."""

from __future__ import annotations

import itertools
import json
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Annotated, Any, Final, cast

import typer

from langchain_xlm.cli.texts import GivenText
from langchain_xlm.errors import InputError

if TYPE_CHECKING:
    from langchain_core.messages import ToolMessage

    from langchain_xlm.tools.tool import XLMTool

JsonOption = Annotated[
    bool, typer.Option("--json", help="Write each result whole, as one line of JSON.")
]

# So many calls are on their way at once: enough to fill batches, little enough to keep the
# memory flat and the first answers early.
AT_ONCE: Final = 32


@dataclass(frozen=True, slots=True)
class Question:
    """A call of a tool for one text."""

    given: GivenText
    arguments: dict[str, Any] = field(default_factory=dict)
    """What the call has beside the text."""

    @property
    def empty(self) -> bool:
        """Whether it is an empty line of a file, which stays one in the output."""
        return self.given.line is not None and not self.given.text.strip()


@dataclass(frozen=True, slots=True)
class Answer:
    """What a tool said to a question; both fields are empty for an empty line."""

    question: Question
    content: str = ""
    artifact: dict[str, Any] = field(default_factory=dict)


def ask(tool: XLMTool, questions: Iterable[Question]) -> Iterator[Answer]:
    """Put questions to a tool, several at a time so that they share batches.

    Args:
        tool: A tool with `handle_tool_error=False`.
        questions: The questions.

    Yields:
        One answer for each question, in the order given.

    Raises:
        InputError: A text cannot be processed; the message names it. The answers to the
            questions before it have been yielded.
    """
    waiting = iter(questions)
    while window := list(itertools.islice(waiting, AT_ONCE)):
        asked = [question for question in window if not question.empty]
        calls = [
            {
                "type": "tool_call",
                "id": str(number),
                "name": tool.name,
                "args": {"text": question.given.text, **question.arguments},
            }
            for number, question in enumerate(asked)
        ]
        outcomes = iter(tool.batch(cast("Any", calls), return_exceptions=True))
        for question in window:
            yield Answer(question) if question.empty else _answer(question, next(outcomes))


def _answer(question: Question, outcome: object) -> Answer:
    origin = question.given.origin
    if isinstance(outcome, Exception):
        if isinstance(outcome.__cause__, InputError):
            raise InputError(f"{origin}: {outcome}") from outcome
        raise outcome
    message = cast("ToolMessage", outcome)
    if message.status == "error":
        raise InputError(f"{origin}: {message.text}")
    return Answer(question, message.text, message.artifact)


def write_json(answer: Answer) -> None:
    """Write an answer as one line of JSON, the text's origin first.

    Args:
        answer: The answer; nothing is written for that to an empty line.
    """
    if answer.artifact:
        record = {"origin": answer.question.given.origin, **answer.artifact}
        typer.echo(json.dumps(record, ensure_ascii=False))


def warn(answer: Answer, note: str) -> None:
    """Say on standard error what a reader of the bare result could not see.

    Args:
        answer: The answer.
        note: What to say; nothing where it is empty.
    """
    if note:
        typer.echo(f"langchain-xlm: {answer.question.given.origin}: {note}", err=True)
