"""`langchain-xlm evaluate`."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final, Literal

import typer

from langchain_xlm.cli.loading import Loading, with_loading_options

if TYPE_CHECKING:
    from rich.progress import TaskID

    from langchain_xlm.evaluation.examples import ExampleSet
    from langchain_xlm.evaluation.reading import DataSource
    from langchain_xlm.evaluation.run import Progress
    from langchain_xlm.evaluation.tasks import EvaluationTask

TaskName = Literal["translation", "summarization", "sentiment", "embeddings"]
# Without a terminal a line is written this often, in seconds.
_QUIET_STEP: Final = 30.0


@with_loading_options
def evaluate(
    task: Annotated[TaskName, typer.Argument(metavar="TASK", help="What the models are to do.")],
    *,
    data: Annotated[
        list[str],
        typer.Option(
            "--data",
            "-d",
            metavar="[GROUP=]FILE",
            help="Examples: .tsv, .csv, .jsonl or .parquet, or two text files with a line for each"
            " other, one after the other. May be given several times; a GROUP, such as a"
            " language, is reported by itself as well.",
        ),
    ],
    output: Annotated[
        Path,
        typer.Option(
            "--output",
            "-o",
            metavar="FOLDER",
            help="Where the report and the predictions go. A run that was stopped goes on from"
            " there.",
        ),
    ],
    model: Annotated[
        list[str] | None,
        typer.Option(
            "--model",
            "-m",
            help="Hub id, local folder, or starter (the default). May be given several times.",
            rich_help_panel="Model",
        ),
    ] = None,
    quantization: Annotated[
        list[str] | None,
        typer.Option(
            "--quantization",
            help="none, float32, bfloat16, float16, 8bit or 4bit. May be given several times.",
            rich_help_panel="Model",
        ),
    ] = None,
    device: Annotated[
        list[str] | None,
        typer.Option(
            "--device",
            help="Device such as cpu or cuda:0. May be given several times.",
            rich_help_panel="Model",
        ),
    ] = None,
    source_language: Annotated[
        str | None, typer.Option("--source-language", "--from", help="Of translations.")
    ] = None,
    target_language: Annotated[
        str | None, typer.Option("--target-language", "--to", help="Of translations.")
    ] = None,
    kind: Annotated[
        Literal["bitext", "sts", "retrieval"],
        typer.Option(
            "--kind",
            help="Of embeddings: bitext finds translations, sts compares with scores, retrieval"
            " answers queries from --corpus.",
        ),
    ] = "bitext",
    corpus: Annotated[
        Path | None,
        typer.Option("--corpus", help="Documents for retrieval: columns id and text."),
    ] = None,
    prompt_of: Annotated[
        Literal["document", "query"],
        typer.Option("--as", help="Prompt of both sides of pairs; E5 wants query."),
    ] = "document",
    sentences: Annotated[
        int, typer.Option("--sentences", "-n", min=1, help="Length of summaries.")
    ] = 3,
    strategy: Annotated[
        Literal["extractive", "abstractive"],
        typer.Option("--strategy", help="Of summaries: chosen sentences, or written by MODEL."),
    ] = "extractive",
    beams: Annotated[
        int | None, typer.Option("--beams", min=1, help="Of translations; as the model has it.")
    ] = None,
    label: Annotated[
        list[str] | None,
        typer.Option(
            "--label",
            metavar="LABEL=MEANING",
            help="What a label in the files means: 0=negative. May be given several times.",
        ),
    ] = None,
    column: Annotated[
        list[str] | None,
        typer.Option(
            "--column",
            metavar="ROLE=NAME",
            help="Which column holds what, by name or number: reference=german, label=1.",
        ),
    ] = None,
    similarity_model: Annotated[
        str,
        typer.Option(
            "--similarity-model", help="Encoder that compares meanings; none leaves that out."
        ),
    ] = "starter",
    comet: Annotated[
        str | None,
        typer.Option("--comet", metavar="MODEL", help="COMET checkpoint, if COMET is installed."),
    ] = None,
    limit: Annotated[
        int | None, typer.Option("--limit", min=1, help="Examples drawn of each group.")
    ] = None,
    seed: Annotated[int, typer.Option("--seed", help="Of the draw and of the intervals.")] = 0,
    resamples: Annotated[
        int, typer.Option("--resamples", min=0, help="Draws of the bootstrap; 0 for none.")
    ] = 1000,
    examples: Annotated[
        int,
        typer.Option(
            "--examples", min=0, help="Best and worst shown; 0 keeps all texts out of the report."
        ),
    ] = 5,
    cost: Annotated[
        bool, typer.Option("--cost/--no-cost", help="Measure load time, memory and speed.")
    ] = True,
    skip_invalid: Annotated[
        bool, typer.Option("--skip-invalid", help="Leave unusable rows out, and count them.")
    ] = False,
    loading: Loading,
) -> None:
    """Measure how good models are on your examples, and what they cost.

    Every model is tried with every quantization on every device. A table is printed; FOLDER gets
    report.json and report.html, a page that needs no network. A run that was stopped or killed
    goes on where it was when the same command is given again.
    """  # noqa: DOC501  # typer shows this text as the help
    from langchain_xlm.cli.evaluation_table import print_report
    from langchain_xlm.evaluation.cost import Budget
    from langchain_xlm.evaluation.reading import LAYOUTS, DataSource, read_corpus, read_examples
    from langchain_xlm.evaluation.run import Options
    from langchain_xlm.evaluation.run import evaluate as run_evaluation
    from langchain_xlm.evaluation.systems import combine

    chosen = _task(
        task,
        languages=(source_language, target_language),
        kind=kind,
        prompt_of=prompt_of,
        sentences=sentences,
        strategy=strategy,
        beams=beams,
        labels=_pairs(label, "--label"),
        similarity_model=None if similarity_model == "none" else similarity_model,
        comet=comet,
        seed=seed,
    )
    systems = combine(
        model or ["starter"], quantization or ["none"], device or [None], loading=loading
    )
    layout = LAYOUTS[kind if task == "embeddings" else task]
    columns = _pairs(column, "--column")
    found: ExampleSet = read_examples(
        _sources(data), layout, columns=columns, skip_invalid=skip_invalid
    )
    if corpus is not None:
        found = replace(found, corpus=read_corpus(DataSource(corpus)))
    elif layout is LAYOUTS["retrieval"]:
        raise typer.BadParameter("retrieval needs the documents", param_hint="--corpus")
    with _progress() as progress:
        report = run_evaluation(
            chosen,
            found.sample(limit, seed),
            systems,
            output=output,
            options=Options(
                resamples=resamples, seed=seed, shown=examples, cost=Budget() if cost else None
            ),
            progress=progress,
        )
    print_report(report)
    typer.echo(f"langchain-xlm: {output / 'report.html'} and {output / 'report.json'}", err=True)


def _task(
    name: TaskName,
    *,
    languages: tuple[str | None, str | None],
    kind: Literal["bitext", "sts", "retrieval"],
    prompt_of: Literal["document", "query"],
    sentences: int,
    strategy: Literal["extractive", "abstractive"],
    beams: int | None,
    labels: dict[str, str],
    similarity_model: str | None,
    comet: str | None,
    seed: int,
) -> EvaluationTask:
    if name == "embeddings":
        from langchain_xlm.evaluation.embeddings import EmbeddingsTask

        return EmbeddingsTask(kind=kind, symmetric_prompt=prompt_of)
    if name == "sentiment":
        from langchain_xlm.evaluation.sentiment import SentimentTask

        return SentimentTask(label_meanings=labels)
    if name == "summarization":
        from langchain_xlm.evaluation.summarization import SummarizationTask

        return SummarizationTask(
            sentences=sentences, strategy=strategy, similarity_model=similarity_model, seed=seed
        )
    from langchain_xlm.evaluation.translation import TranslationTask

    source, target = languages
    if source is None or target is None:
        missing = "--source-language" if source is None else "--target-language"
        raise typer.BadParameter("translation needs both languages", param_hint=missing)
    return TranslationTask(
        source_language=source,
        target_language=target,
        similarity_model=similarity_model,
        comet_model=comet,
        num_beams=beams,
    )


def _sources(given: Sequence[str]) -> list[DataSource]:
    from langchain_xlm.evaluation.reading import pair_files

    paths: list[tuple[str | None, Path]] = []
    for each in given:
        group, equals, path = each.partition("=")
        # A file whose own name has an equals sign is taken as it is.
        if equals and not Path(each).exists():
            paths.append((group, Path(path)))
        else:
            paths.append((None, Path(each)))
    return pair_files(paths)


def _pairs(given: Sequence[str] | None, option: str) -> dict[str, str]:
    pairs = [each.partition("=") for each in given or ()]
    if not all(name and value for name, _, value in pairs):
        raise typer.BadParameter("give NAME=VALUE", param_hint=option)
    return {name: value for name, _, value in pairs}


@contextmanager
def _progress() -> Iterator[Progress]:
    """Show on standard error how far the run is, and how long it will take."""
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        TextColumn,
        TimeElapsedColumn,
        TimeRemainingColumn,
    )
    from rich.progress import Progress as Bars

    console = Console(stderr=True)
    if not console.is_terminal:
        yield _lines()
        return
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TimeRemainingColumn(),
    )
    with Bars(*columns, console=console) as bars:
        shown: dict[str, TaskID] = {}

        def show(what: str, done: int, total: int) -> None:
            if what not in shown:
                shown[what] = bars.add_task(what, total=total)
            bars.update(shown[what], completed=done, total=total)

        yield show


def _lines() -> Progress:
    """Write a line now and then, for a log."""
    begun: dict[str, tuple[float, int]] = {}
    last = time.monotonic()

    def show(what: str, done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        start, before = begun.setdefault(what, (now, done))
        if done < total and now - last < _QUIET_STEP:
            return
        last = now
        left = ""
        if before < done < total:
            seconds = (now - start) / (done - before) * (total - done)
            left = f", about {seconds / 60:.0f} min left"
        sys.stderr.write(f"langchain-xlm: {what}: {done:,} of {total:,}{left}\n")

    return show
