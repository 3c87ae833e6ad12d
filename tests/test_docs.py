"""The examples of the README and the site are run, and show what they print."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from docs import snippets
from langchain_xlm import errors
from langchain_xlm.engines.generator import FLAGS
from langchain_xlm.models.config import LoadingFields
from langchain_xlm.models.families import FAMILIES

STARTER = Path(snippets.ROOT, "langchain_xlm", "models", "starter")

needs_starter = pytest.mark.skipif(
    not all(
        STARTER.joinpath(part, "model.safetensors").exists() for part in ("encoder", "translation")
    ),
    reason="the weights of the bundled models are not there",
)


@needs_starter
@pytest.mark.starter
@pytest.mark.parametrize("page", snippets.PAGES, ids=lambda page: page.name)
def test_examples_print_what_the_page_shows(page):
    with snippets.workplace() as namespace:
        for snippet in snippets.snippets(page):
            printed = snippets.run(snippet, namespace)
            if snippet.shown is not None:
                where = f"{page.name}:{snippet.line}: run python -m docs.snippets"
                assert not snippets.differs(snippet.shown, printed), f"{where}\n{printed}"


def test_help_in_the_pages_is_that_of_the_command():
    compared = 0
    for page in snippets.PAGES:
        for snippet in snippets.snippets(page):
            if snippet.code.strip().endswith("--help"):
                with snippets.workplace() as namespace:
                    assert snippets.run(snippet, namespace) == snippet.shown
                compared += 1
    assert compared >= 6


def test_there_are_examples():
    found = [snippet for page in snippets.PAGES for snippet in snippets.snippets(page)]
    assert {snippet.language for snippet in found} == {"python", "console"}
    assert len(found) > 20


@pytest.mark.parametrize(
    ("shown", "printed", "stale"),
    [
        ("positive 0.91", "positive 0.90", False),
        ("positive 0.91", "negative 0.91", True),
        ("Guten Morgen, mein Freund.", "Gute Nacht.", True),
        ("", "Guten Morgen.", True),
    ],
)
def test_stale_output_is_noticed(shown, printed, stale):
    assert snippets.differs(shown, printed) is stale


def test_outputs_are_written_into_a_page(tmp_path):
    page = tmp_path / "page.md"
    page.write_text(
        "# Page\n\n```python\nx = 1\n```\n\nThen:\n\n```python\nprint(x + 1)\n```\n\n"
        "```text\nold\n```\n\n```console\n$ langchain-xlm --version\n```\n\nEnd.\n",
        "utf-8",
    )
    assert snippets.rewrite(page)
    text = page.read_text("utf-8")
    assert "```text\n2\n```" in text
    assert re.search(r"\$ langchain-xlm --version\n\d+\.\d+\.\d+\n```\n\nEnd\.\n$", text)
    assert not snippets.rewrite(page)


def test_every_family_and_loading_field_is_in_the_pages():
    table = snippets.ROOT.joinpath("docs/models.md").read_text("utf-8")
    for family in FAMILIES:
        assert f"| {family.name}" in table
    command = snippets.ROOT.joinpath("docs/cli.md").read_text("utf-8")
    for name in LoadingFields.model_fields:
        assert f"--{name.replace('_', '-')}" in command


def test_every_flag_of_a_translation_is_explained():
    page = snippets.ROOT.joinpath("docs/tools.md").read_text("utf-8")
    for flag in FLAGS:
        assert f"`{flag}`" in page


def test_links_between_pages_lead_somewhere():
    for page in snippets.PAGES:
        for target in re.findall(r"\]\(([^)#:]+\.md)", page.read_text("utf-8")):
            assert page.parent.joinpath(target).is_file(), f"{page.name}: {target}"


def test_the_tree_of_errors_in_the_module_is_the_real_one():
    for name in errors.__all__:
        assert name in errors.__doc__
