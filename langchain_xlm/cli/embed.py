"""`langchain-xlm embed`."""

from __future__ import annotations

import json
import time
from array import array
from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from langchain_xlm.cli.loading import Loading, with_loading_options
from langchain_xlm.cli.rows import Row, format_for
from langchain_xlm.cli.texts import STANDARD_INPUT, GivenText, read_texts
from langchain_xlm.cli.vectors import Identity, Part, PartFolder, digest
from langchain_xlm.errors import InputError

if TYPE_CHECKING:
    from langchain_xlm.retrieval.embeddings import XLMEmbeddings

# A part is written this often: what a kill can cost, and a bound on the rows in memory.
SECONDS_PER_PART: Final = 10.0
ROWS_PER_PART: Final = 8192


@with_loading_options
def embed(
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE",
            help="UTF-8 files; - is standard input. Each line is a text; in .jsonl files each"
            " line is an object with the text in --field. Empty lines are left out.",
        ),
    ],
    *,
    output: Annotated[
        Path,
        typer.Option(
            "--output", "-o", metavar="PATH", help="Where to write: NAME.parquet or NAME.jsonl."
        ),
    ],
    whole: Annotated[
        bool, typer.Option("--whole", help="Take each file as one text instead of its lines.")
    ] = False,
    field: Annotated[
        str, typer.Option("--field", metavar="NAME", help="Key of the text in .jsonl files.")
    ] = "text",
    purpose: Annotated[
        Literal["document", "query"],
        typer.Option("--as", help="Which of the model's prompts stands in front of the texts."),
    ] = "document",
    overflow: Annotated[
        Literal["pool", "truncate", "error"],
        typer.Option("--overflow", help="What to do with a text beyond the model's window."),
    ] = "pool",
    dimensions: Annotated[
        int | None,
        typer.Option("--dimensions", min=1, help="Keep only this many leading values."),
    ] = None,
    batch_size: Annotated[
        int, typer.Option("--batch-size", min=1, help="Texts handed to the model at once.")
    ] = 256,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace the output instead of going on with it.")
    ] = False,
    loading: Loading,
) -> None:
    """Turn the texts of files into vectors, in a Parquet or JSON Lines file.

    The output has a row for each text: origin (file and line), text and vector. A job that was
    stopped or killed goes on where it was when the same command is given again. Memory does not
    grow with the number of texts.
    """
    rows = format_for(output)
    total = sum(1 for _ in _texts(files, whole=whole, field=field)) if _countable(files) else None
    embeddings = _embeddings(loading, purpose, overflow=overflow, dimensions=dimensions)
    identity = Identity(embeddings.model, embeddings.fingerprint())
    with PartFolder(output, identity, rows) as folder:
        parts = folder.open(overwrite=overwrite)
        texts = _texts(files, whole=whole, field=field)
        done = _skip(texts, parts, folder)
        made = _parts(embeddings, texts, batch_size=batch_size, total=total, done=done)
        _write(folder, made, number=len(parts), done=done)


def _write(folder: PartFolder, made: Iterator[list[Row]], *, number: int, done: int) -> None:
    try:
        for rows in made:
            folder.add(number, rows)
            number += 1
            done += len(rows)
        folder.finish(number)
    except KeyboardInterrupt:
        typer.echo(
            f"\nlangchain-xlm: stopped; {done:,} vectors are kept in {folder.folder}. The same"
            " command goes on from there.",
            err=True,
        )
        raise
    typer.echo(f"langchain-xlm: {done:,} vectors in {folder.output}", err=True)


def _skip(texts: Iterator[GivenText], parts: Sequence[Part], folder: PartFolder) -> int:
    """Pass over the texts of the finished parts, making sure that they are the same."""
    done = 0
    for part in parts:
        skipped = [Row(each.origin, each.text, ()) for each in islice(texts, part.rows)]
        if digest(skipped) != part.digest:
            raise InputError(
                f"The texts are not those that {folder.folder} was made from: rows {done + 1} to"
                f" {done + part.rows} differ. Give them again, or --overwrite to start anew."
            )
        done += part.rows
    if done:
        typer.echo(f"langchain-xlm: going on after {done:,} texts", err=True)
    return done


def _embeddings(
    loading: Loading,
    purpose: Literal["document", "query"],
    *,
    overflow: Literal["pool", "truncate", "error"],
    dimensions: int | None,
) -> XLMEmbeddings:
    from langchain_xlm.retrieval.embeddings import XLMEmbeddings

    embeddings = XLMEmbeddings(**loading, overflow=overflow, dimensions=dimensions)
    if purpose == "query":
        # Many queries at once go the way of documents, with the prompt of queries.
        prompt = embeddings.info().recipe.query_prompt or ""
        embeddings = XLMEmbeddings(
            **loading, overflow=overflow, dimensions=dimensions, document_prompt=prompt
        )
    return embeddings


def _countable(files: Sequence[Path]) -> bool:
    return STANDARD_INPUT not in files and all(path.is_file() for path in files)


def _texts(files: Sequence[Path], *, whole: bool, field: str) -> Iterator[GivenText]:
    for path in files:
        for given in read_texts(None, [path], lines=not whole):
            if not given.text.strip():
                continue
            if not whole and path.suffix.lower() in (".jsonl", ".ndjson"):
                yield GivenText(_field(given, field), given.origin, given.line)
            else:
                yield given


def _field(given: GivenText, field: str) -> str:
    try:
        text = json.loads(given.text)[field]
    except (json.JSONDecodeError, KeyError, TypeError):
        raise InputError(
            f"{given.origin} is not a JSON object with a {field!r}. Name the key with --field."
        ) from None
    if not isinstance(text, str):
        raise InputError(f"{given.origin}: {field!r} is not a text but {json.dumps(text)[:60]}.")
    return text


def _parts(
    embeddings: XLMEmbeddings,
    texts: Iterator[GivenText],
    *,
    batch_size: int,
    total: int | None,
    done: int,
) -> Iterator[list[Row]]:
    """Embed texts and yield the rows of one part after the other, showing the progress."""
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TimeRemainingColumn

    rows: list[Row] = []
    begun = time.monotonic()
    console = Console(stderr=True)
    columns = ("Embedding", BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        task = progress.add_task("Embedding", total=total, completed=done)
        while batch := list(islice(texts, batch_size)):
            rows += _embed(embeddings, batch)
            progress.advance(task, len(batch))
            if len(rows) >= ROWS_PER_PART or time.monotonic() - begun >= SECONDS_PER_PART:
                yield rows
                rows, begun = [], time.monotonic()
        if rows:
            yield rows


def _embed(embeddings: XLMEmbeddings, batch: Sequence[GivenText]) -> Iterator[Row]:
    try:
        vectors = embeddings.embed_documents([given.text for given in batch])
    except InputError:
        _name_culprit(embeddings, batch)
        raise
    for given, vector in zip(batch, vectors, strict=True):
        # An eighth of a list of floats, and all that the model computed.
        yield Row(given.origin, given.text, array("f", vector))


def _name_culprit(embeddings: XLMEmbeddings, batch: Sequence[GivenText]) -> None:
    """Find the text that broke a batch, so that the message can say where it stands."""
    for given in batch:
        try:
            embeddings.embed_documents([given.text])
        except InputError as error:
            raise InputError(f"{given.origin}: {error}") from error
