"""`langchain-xlm sentiment`."""

from __future__ import annotations

import typer

from langchain_xlm.cli.answers import JsonOption, Question, ask, warn, write_json
from langchain_xlm.cli.loading import Loading, with_loading_options
from langchain_xlm.cli.texts import FileOption, LinesOption, TextArguments, read_texts


@with_loading_options
def sentiment(
    texts: TextArguments = None,
    *,
    files: FileOption = None,
    lines: LinesOption = False,
    as_json: JsonOption = False,
    loading: Loading,
) -> None:
    """Tell whether texts are negative, neutral or positive.

    Each line of the output has a label, its score from 0 to 1 and where the text came from.
    """
    from langchain_xlm.tools.sentiment import NOTES, XLMSentimentTool

    tool = XLMSentimentTool(**loading, handle_tool_error=False)
    questions = (Question(given) for given in read_texts(texts, files, lines=lines))
    for answer in ask(tool, questions):
        if as_json:
            write_json(answer)
            continue
        if not answer.artifact:
            typer.echo()
            continue
        label = answer.artifact["label"]
        score = answer.artifact["scores"][label]
        typer.echo(f"{label}\t{score:.2f}\t{answer.question.given.origin}")
        warn(answer, " ".join(NOTES[flag] for flag in answer.artifact["flags"]))
