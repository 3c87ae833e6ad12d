"""`langchain-xlm languages`."""

from __future__ import annotations

import json

import typer

from langchain_xlm.cli.answers import JsonOption
from langchain_xlm.cli.loading import Loading, with_loading_options


@with_loading_options
def languages(*, as_json: JsonOption = False, loading: Loading) -> None:
    """List the languages that a translation model writes, with their codes."""
    from langchain_xlm.engines.generator import Generator
    from langchain_xlm.models.config import LoadingFields
    from langchain_xlm.runtime.flow import run_flow
    from langchain_xlm.text.languages import find_language

    fields = LoadingFields(**loading)
    info = run_flow(Generator(fields.load_spec("seq2seq")).info(), model=fields.model)
    if info.targets is None:
        typer.echo(f"langchain-xlm: {fields.model} does not say which languages it knows", err=True)
        return
    for tag in info.targets:
        name = find_language(tag).name
        typer.echo(
            json.dumps({"language": tag, "name": name}, ensure_ascii=False)
            if as_json
            else f"{tag}\t{name}"
        )
