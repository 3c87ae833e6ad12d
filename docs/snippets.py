"""The examples in the README and in these pages, run for real.

Two kinds of fenced block are examples:

* `python`: the blocks of a page run one after the other in one namespace. A `text` block that
  follows is what the block prints.
* `console`: each `$ langchain-xlm …` runs, and what follows it is its output.

Any other kind, such as `shell`, is only shown. `python -m docs.snippets` runs every example and
writes the outputs into the pages; the tests run them and compare.
"""

from __future__ import annotations

import contextlib
import difflib
import io
import os
import re
import shlex
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parent.parent
PAGES = [ROOT / "README.md", *sorted(ROOT.joinpath("docs").glob("*.md"))]

_BLOCK = re.compile(r"^```(\w+)\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
_NUMBER = re.compile(r"-?\d+(\.\d+)?")


@dataclass
class Snippet:
    """An example of a page with the output that stands there."""

    page: Path
    line: int
    language: str
    code: str
    shown: str | None
    """The output in the page; None where none is shown."""
    start: int
    """Where the output stands in the page."""
    end: int


def snippets(page: Path) -> Iterator[Snippet]:
    """Find the examples of a page.

    Args:
        page: A Markdown file.

    Yields:
        Each example, from top to bottom.
    """
    text = page.read_text("utf-8")
    for block in _BLOCK.finditer(text):
        language, code = block.groups()
        line = text.count("\n", 0, block.start()) + 1
        if language == "python":
            after = re.compile(r"\n*```text\n(.*?)^```\n", re.MULTILINE | re.DOTALL)
            output = after.match(text, block.end())
            shown = None if output is None else output[1]
            start, end = output.span(1) if output else (block.end(), block.end())
            yield Snippet(page, line, language, code, shown, start, end)
        elif language == "console":
            for call in re.finditer(r"^\$ (.*\n)((?:(?!\$ ).*\n)*)", code, re.MULTILINE):
                start = block.start(2) + call.start(2)
                yield Snippet(page, line, language, call[1], call[2], start, start + len(call[2]))


def run(snippet: Snippet, namespace: dict[str, Any]) -> str:
    """Run an example.

    Args:
        snippet: The example.
        namespace: The variables of its page; Python examples add to them.

    Returns:
        What it printed.

    Raises:
        ValueError: A console example calls another program.
    """
    printed = io.StringIO()
    if snippet.language == "python":
        # The line numbers of a traceback are those of the page.
        source = "\n" * snippet.line + snippet.code
        with contextlib.redirect_stdout(printed):
            exec(compile(source, str(snippet.page), "exec"), namespace)  # noqa: S102
        return printed.getvalue()
    from langchain_xlm.cli.main import PROGRAM, main

    program, *arguments = shlex.split(snippet.code)
    if program != PROGRAM:
        raise ValueError(f"{snippet.page}:{snippet.line}: only {PROGRAM} can be run here")
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main(arguments)
    return "".join(line.rstrip() + "\n" for line in printed.getvalue().splitlines())


def differs(shown: str, printed: str) -> bool:
    """Tell whether an output is another one than the page shows.

    Numbers may differ, and a word here and there: processors round differently.

    Args:
        shown: What the page shows; a line of `…` stands for any lines.
        printed: What was printed.

    Returns:
        Whether the page has to be brought up to date.
    """
    return difflib.SequenceMatcher(None, _plain(shown), _plain(printed)).ratio() < 0.9


def _plain(output: str) -> list[str]:
    return _NUMBER.sub("0", output).split()


@contextlib.contextmanager
def workplace() -> Iterator[dict[str, Any]]:
    """Make the place that examples run in: a folder with the files that they read.

    Yields:
        The namespace that a page starts with.
    """
    from langchain_core.language_models.fake_chat_models import FakeListChatModel

    from langchain_xlm.cli.demo_texts import ARTICLE

    before = Path.cwd()
    settings = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    saved = {name: os.environ.get(name) for name in settings}
    with tempfile.TemporaryDirectory() as folder:
        Path(folder, "article.txt").write_text(ARTICLE, "utf-8")
        os.environ.update(settings)
        os.chdir(folder)
        try:
            yield {"model": FakeListChatModel(responses=["Done."]), "article": ARTICLE}
        finally:
            os.chdir(before)
            for name, value in saved.items():
                if value is None:
                    del os.environ[name]
                else:
                    os.environ[name] = value


def rewrite(page: Path) -> bool:
    """Run the examples of a page and write their outputs into it.

    Args:
        page: A Markdown file.

    Returns:
        Whether the page changed.
    """
    text = page.read_text("utf-8")
    pieces, position = [], 0
    with workplace() as namespace:
        for snippet in snippets(page):
            printed = run(snippet, namespace)
            if snippet.shown is not None:
                pieces += [text[position : snippet.start], printed]
                position = snippet.end
    new = "".join([*pieces, text[position:]])
    page.write_text(new, "utf-8")
    return new != text


if __name__ == "__main__":
    for each in PAGES:
        changed = rewrite(each)
        sys.stdout.write(f"{each.relative_to(ROOT)}: {'changed' if changed else 'as before'}\n")
