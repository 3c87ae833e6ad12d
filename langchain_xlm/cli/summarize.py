"""`langchain-xlm summarize`."""

from __future__ import annotations

from typing import Annotated, Literal

import typer

from langchain_xlm.cli.answers import JsonOption, Question, ask, warn, write_json
from langchain_xlm.cli.loading import Loading, with_loading_options
from langchain_xlm.cli.texts import FileOption, SourceOption, TextArguments, read_texts


@with_loading_options
def summarize(
    texts: TextArguments = None,
    *,
    files: FileOption = None,
    sentences: Annotated[
        int | None,
        typer.Option("--sentences", "-n", min=1, help="Length of the summary in sentences."),
    ] = None,
    words: Annotated[
        int | None, typer.Option("--words", "-w", min=1, help="Length of the summary in words.")
    ] = None,
    strategy: Annotated[
        Literal["extractive", "abstractive"],
        typer.Option(
            "--strategy",
            help="extractive: the most central sentences as they stand, chosen by an encoder;"
            " abstractive: written anew by a sequence-to-sequence model, which --model must name.",
        ),
    ] = "extractive",
    to: Annotated[
        str | None,
        typer.Option("--to", "-t", metavar="LANGUAGE", help="Language of the summary."),
    ] = None,
    source: SourceOption = None,
    translation_model: Annotated[
        str,
        typer.Option("--translation-model", metavar="TEXT", help="Model that translates for --to."),
    ] = "starter",
    as_json: JsonOption = False,
    loading: Loading,
) -> None:
    """Shorten texts to their most important sentences."""
    from langchain_xlm.tools.summarization import XLMSummarizationTool

    tool = XLMSummarizationTool(
        **loading,
        strategy=strategy,
        translation_model=translation_model,
        handle_tool_error=False,
    )
    asked = {
        "max_sentences": sentences,
        "max_words": words,
        "target_language": to,
        "source_language": source,
    }
    arguments = {name: value for name, value in asked.items() if value is not None}
    questions = (Question(given, arguments) for given in read_texts(texts, files))
    for number, answer in enumerate(ask(tool, questions)):
        if as_json:
            write_json(answer)
            continue
        if number:
            typer.echo()
        text = answer.artifact["text"]
        typer.echo(text)
        warn(answer, answer.content.removeprefix(text).strip())
