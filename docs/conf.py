"""Sphinx, with Markdown pages (MyST) and the reference taken from the docstrings."""

from __future__ import annotations

import re
from textwrap import indent
from typing import Any

import langchain_xlm

# autodoc imports modules as a type checker would, which pydantic cannot bear; what is imported
# already is taken as it is.
for name in langchain_xlm.__all__:
    getattr(langchain_xlm, name)

project = "langchain-xlm"
author = "langchain-xlm developers"
copyright = "2026, langchain-xlm developers"
release = langchain_xlm.__version__

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx_copybutton",
]
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = f"langchain-xlm {release}"

myst_enable_extensions = ["colon_fence", "deflist"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# Examples stand in the pages, where they are run.
napoleon_google_docstring = True
napoleon_numpy_docstring = False
napoleon_custom_sections = ["Source", "Shapes"]

copybutton_prompt_text = r"\$ "
copybutton_prompt_is_regexp = True


def prepare_docstring(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Make reStructuredText of a docstring, whose code is marked as in Markdown.

    What a module says of itself is left out: the pages say it in their own words.
    """
    if what == "module":
        lines.clear()
        return
    text = "\n".join(lines)
    text = re.sub(r"(?<!`)`([^`]+)`(?!`)", r"``\1``", text)
    fence = re.compile(r"^( *)```(\w+)\n(.*?)^ *```$", re.MULTILINE | re.DOTALL)
    text = fence.sub(lambda f: f"{f[1]}.. code-block:: {f[2]}\n\n{indent(f[3], '    ')}", text)
    lines[:] = text.split("\n")


def setup(app: Any) -> None:
    # Before napoleon, which reads the sections.
    app.connect("autodoc-process-docstring", prepare_docstring, priority=100)
