"""`langchain-xlm translate`."""

from __future__ import annotations

from typing import Annotated

import typer

from langchain_xlm.cli.answers import JsonOption, Question, ask, warn, write_json
from langchain_xlm.cli.loading import Loading, with_loading_options
from langchain_xlm.cli.texts import FileOption, LinesOption, SourceOption, TextArguments, read_texts


@with_loading_options
def translate(
    texts: TextArguments = None,
    *,
    to: Annotated[
        list[str],
        typer.Option(
            "--to",
            "-t",
            metavar="LANGUAGE",
            help="Language to translate into, by any name: fr, French, français. May be given"
            " several times.",
        ),
    ],
    source: SourceOption = None,
    num_beams: Annotated[
        int | None,
        typer.Option(
            "--beams",
            min=1,
            help="Translations kept in mind at a time: 1 is fastest, 4 or 5 mostly better.",
        ),
    ] = None,
    reverse_weight: Annotated[
        float | None,
        typer.Option(
            "--reverse-weight",
            min=0,
            help="With beams, on a model that translates both ways: what it counts in the choice"
            " among wordings how well the source can be told from them; 0 is off.",
        ),
    ] = None,
    files: FileOption = None,
    lines: LinesOption = False,
    as_json: JsonOption = False,
    loading: Loading,
) -> None:
    """Translate texts into one or more languages.

    Texts may be of any length; spacing and line breaks stay as they are.
    """
    from langchain_xlm.tools.translation import XLMTranslationTool

    tool = XLMTranslationTool(
        **loading, num_beams=num_beams, reverse_weight=reverse_weight, handle_tool_error=False
    )
    questions = (
        Question(given, {"target_language": target, "source_language": source})
        for given in read_texts(texts, files, lines=lines)
        for target in to
    )
    for answer in ask(tool, questions):
        if as_json:
            write_json(answer)
            continue
        text = answer.artifact.get("text", "")
        target = answer.question.arguments["target_language"]
        typer.echo(text if len(to) == 1 else f"{target}: {text}")
        # What follows the translation in the message to an agent is a note for its reader.
        warn(answer, answer.content.removeprefix(text).strip())
