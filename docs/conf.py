"""Sphinx, with Markdown pages (MyST) and the reference taken from the docstrings."""

from __future__ import annotations

from importlib.metadata import version as installed_version
from typing import Any

project = "langchain-xlm"
author = "langchain-xlm developers"
copyright = "2026, langchain-xlm developers"
release = installed_version("langchain-xlm")

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


def leave_out_module_docstrings(
    app: object, what: str, name: str, obj: object, options: object, lines: list[str]
) -> None:
    """Leave out what a module says of itself; the pages say it in their own words."""
    if what == "module":
        lines.clear()


def setup(app: Any) -> None:
    app.connect("autodoc-process-docstring", leave_out_module_docstrings)
