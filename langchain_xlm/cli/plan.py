"""`langchain-xlm plan`."""

from __future__ import annotations

import json
import re
from typing import TYPE_CHECKING, Annotated, Any, Final

import typer

from langchain_xlm.cli.loading import Loading, with_loading_options
from langchain_xlm.models.config import Task

if TYPE_CHECKING:
    from rich.table import Table

    from langchain_xlm.models.memory_plan import MemoryPlan

_OPTIONS: Final = ("revision", "token", "cache_dir", "local_files_only")


def _plan(
    *,
    model: Annotated[str, typer.Argument(help="Hub id, local folder, or starter.")],
    gpu: Annotated[
        list[str] | None,
        typer.Option(
            "--gpu",
            metavar="SIZE",
            help="Memory of a GPU to plan for, such as 8GiB. May be given several times; without "
            "any, the devices of this machine are taken.",
        ),
    ] = None,
    task: Annotated[
        Task | None,
        typer.Option("--task", help="What the model is for; left out, the checkpoint tells."),
    ] = None,
    batch: Annotated[int, typer.Option("--batch", min=1, help="Texts at once.")] = 8,
    length: Annotated[
        int | None,
        typer.Option("--length", min=1, help="Tokens of each text: 128 unless the window is less."),
    ] = None,
    beams: Annotated[
        int | None,
        typer.Option(
            "--beams", min=1, help="Translations kept in mind at a time; as the checkpoint says."
        ),
    ] = None,
    as_json: Annotated[
        bool, typer.Option("--json", help="Write the plan as one object of JSON.")
    ] = False,
    loading: Loading,
) -> None:
    """Tell how much memory a model needs, before it is downloaded.

    Only its config and the headers of its weights are read. Weights, intermediate results and the
    cache of generation are counted in 32 and 16 bits and quantized to 8 and 4.
    """
    from langchain_xlm import plan_memory

    plan = plan_memory(
        model, task=task, gpus=gpu or (), batch=batch, length=length, beams=beams, **loading
    )
    if as_json:
        typer.echo(json.dumps(plan.to_dict(), ensure_ascii=False))
    else:
        _show(plan)


plan = with_loading_options(_plan, only=_OPTIONS)


def _show(plan: MemoryPlan) -> None:
    from rich.console import Console

    console = Console(highlight=False)
    pinned = f" at {plan.revision[:7]}" if plan.revision else ""
    console.print(
        f"{plan.model}{pinned}: {plan.family}, {plan.task}, {plan.parameters / 1e6:,.1f} million"
        f" parameters, {_mib(plan.download_bytes)} MiB of {plan.saved_dtype} on disk",
        markup=False,
    )
    console.print(_amounts(plan))
    console.print(_places(plan))
    for note in plan.notes:
        console.print(f"Note: {note}", markup=False)
    # The same part of every layer once.
    left_out = {re.sub(r"\.\d+\.", ".*.", name) for s in plan.settings for name in s.left_out}
    if left_out:
        console.print(f"Never quantized: {', '.join(sorted(left_out))}", markup=False)
    chosen = next((one for one in plan.settings if one.setting == plan.recommended), None)
    backend = f", on {chosen.backend}" if chosen and plan.task == "seq2seq" else ""
    console.print(
        f"Recommended for {plan.devices[0].name}: {_advice(plan.recommended)}{backend}",
        markup=False,
    )


def _amounts(plan: MemoryPlan) -> Table:
    beams = f"{plan.beams} beam{'' if plan.beams == 1 else 's'}"
    writing = f", {plan.new_tokens} written, {beams}" if plan.new_tokens else ""
    table = _table(f"MiB for {plan.batch} texts of {plan.length} tokens{writing}")
    for title in ("weights", "vocabulary", "activations", "cache", "loading", "peak"):
        table.add_column(title, justify="right")
    for setting in plan.settings:
        sizes = (
            setting.weights.total,
            setting.weights.vocabulary,
            setting.activations_bytes,
            setting.cache_bytes,
            setting.loading_bytes,
            setting.peak_bytes,
        )
        table.add_row(setting.setting, *map(_mib, sizes))
    return table


def _places(plan: MemoryPlan) -> Table:
    table = _table("Where it fits and where it would go")
    for device in plan.devices:
        stated = "" if device.is_here else ", stated"
        table.add_column(f"{device.name}\n{device.free_bytes / 2**30:,.1f} GiB{stated}")
    table.add_column("device_map='auto'")
    for setting in plan.settings:
        table.add_row(
            setting.setting,
            *("[green]fits[/]" if each.fits else "[red]too big[/]" for each in setting.fits),
            setting.placement.summary,
        )
    return table


def _table(title: str) -> Table:
    from rich import box
    from rich.table import Table

    table = Table(box=box.SIMPLE_HEAD, title=title, title_justify="left", title_style="bold")
    table.add_column("setting")
    return table


def _mib(size: int) -> str:
    return f"{size / 2**20:,.1f}" if size < 100 * 2**20 else f"{size / 2**20:,.0f}"


def _advice(setting: str | None) -> str:
    written: dict[str | None, Any] = {
        None: "a smaller model, or device_map='auto' with what is said above",
        "as saved": "as it is",
    }
    quantized = setting in ("8bit", "4bit")
    return str(
        written.get(setting, f"quantization={setting!r}" if quantized else f"dtype={setting!r}")
    )
