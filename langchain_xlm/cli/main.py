"""Where the `langchain-xlm` command begins and where its errors end."""

from __future__ import annotations

import contextlib
import inspect
import io
import logging
import os
import sys
import traceback
from collections.abc import Iterable, Sequence
from importlib import import_module
from typing import Annotated, Final

import typer

from langchain_xlm.errors import XLMError

PROGRAM: Final = "langchain-xlm"
_DEBUG: Final = "LANGCHAIN_XLM_DEBUG"

COMMANDS: Final = {
    "translate": "Translate texts into one or more languages.",
    "summarize": "Shorten texts to their most important sentences.",
    "sentiment": "Tell whether texts are negative, neutral or positive.",
    "embed": "Turn the texts of files into vectors, in a Parquet or JSON Lines file.",
    "evaluate": "Measure how good models are on your examples, and what they cost.",
    "languages": "List the languages that a translation model writes.",
    "plan": "Tell how much memory a model needs, before it is downloaded.",
    "doctor": "Tell what this machine can run, and the setting that suits it.",
    "demo": "Show the main job: translations, sentiment, a summary and a search.",
}
"""Each command and its summary; the module of the same name has the function of that name."""


def build_app(commands: Iterable[str] = COMMANDS) -> typer.Typer:
    """Put the command line together.

    Args:
        commands: The commands whose modules are imported. The others are only listed, which
            is all that `--help` needs.

    Returns:
        The application, ready to be called.
    """
    app = typer.Typer(
        name=PROGRAM,
        no_args_is_help=True,
        add_completion=False,
        pretty_exceptions_enable=False,
        rich_markup_mode="rich",
        context_settings={"help_option_names": ["-h", "--help"]},
        epilog="Texts come from arguments, from files (--file) or from standard input.",
    )
    app.callback()(_begin)
    wanted = set(commands)
    for name, summary in COMMANDS.items():
        if name in wanted:
            command = getattr(import_module(f"langchain_xlm.cli.{name}"), name)
        else:
            command = _nothing
        app.command(name, short_help=summary, help=_paragraphs(command.__doc__ or ""))(command)
    return app


def main(arguments: Sequence[str] | None = None) -> None:
    """Run the command and exit: 0 done, 1 it failed, 2 it was called wrongly, 130 interrupted.

    Args:
        arguments: What stands after the program's name; None takes it from the process.

    Raises:
        SystemExit: Always, with the exit code.
    """
    given = list(sys.argv[1:] if arguments is None else arguments)
    _keep_quiet()
    try:
        build_app([word for word in given if word in COMMANDS])(args=given, prog_name=PROGRAM)
    except Exception as error:  # noqa: BLE001  # the outermost edge: no traceback for a user
        if os.environ.get(_DEBUG):
            traceback.print_exc()
        typer.echo(f"{PROGRAM}: {_sentence(error)}", err=True)
        raise SystemExit(1) from None


def _show_version(asked: bool) -> None:
    if asked:
        from langchain_xlm import __version__

        typer.echo(__version__)
        raise typer.Exit


def _begin(
    version: Annotated[
        bool,
        typer.Option(
            "--version", help="Show the version and exit.", callback=_show_version, is_eager=True
        ),
    ] = False,
    debug: Annotated[bool, typer.Option("--debug", help="Show where an error came from.")] = False,
) -> None:
    """Translation, summaries, sentiment and vectors on models that run on this machine."""
    if debug:
        os.environ[_DEBUG] = "1"


def _paragraphs(docstring: str) -> str:
    """Undo the line breaks inside paragraphs, which the terminal has to set anew."""
    paragraphs = inspect.cleandoc(docstring).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split()) for paragraph in paragraphs)


def _nothing() -> None:
    """Stand in for a command that is only listed."""


def _keep_quiet() -> None:
    """Leave standard error to what a user of the command has to know."""
    os.environ.setdefault("TRANSFORMERS_VERBOSITY", "error")
    os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")
    logging.basicConfig(format=f"{PROGRAM}: %(message)s", level=logging.WARNING)
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            # A terminal without the script of a language shows escapes instead of failing.
            with contextlib.suppress(ValueError):
                stream.reconfigure(errors="backslashreplace")


def _sentence(error: Exception) -> str:
    from langchain_core.tools import ToolException

    if isinstance(error, (XLMError, ToolException)):
        return str(error)
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename is not None else ""
        return f"{where}{error.strerror}"
    return f"{type(error).__name__}: {error} (--debug shows where it came from)"
