"""The memory that a model will need, told before it is downloaded or loaded."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import ConfigurationError
from langchain_xlm.models import checks, files, values
from langchain_xlm.models.backends import CTRANSLATE2, TORCH
from langchain_xlm.models.config import LoadSpec, Task
from langchain_xlm.models.dtypes import default_dtype
from langchain_xlm.models.families import FAMILIES, Family, families_of
from langchain_xlm.models.fitting import find_placement, fit
from langchain_xlm.models.headers import read_headers
from langchain_xlm.models.machine import Device, find_devices, stated_devices
from langchain_xlm.models.memory_plan import MemoryPlan, SettingPlan
from langchain_xlm.models.processor import computes_bfloat16
from langchain_xlm.models.quiet import quiet_transformers
from langchain_xlm.models.skeleton import Skeleton, auto_class, build_skeleton, read_config

if TYPE_CHECKING:
    import torch
    from transformers import PreTrainedConfig

    from langchain_xlm.models.activations import Load

__all__ = ["plan_memory"]

_SETTINGS: dict[str, dict[str, Any]] = {
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "8bit": {"quantization": "8bit"},
    "4bit": {"quantization": "4bit"},
}
_BATCH, _LENGTH = 8, 128
# Quantization that saves less than this share of the weights is not worth its loss of quality.
_WORTH_IT = 0.3


def plan_memory(
    model: str | os.PathLike[str],
    *,
    task: Task | None = None,
    gpus: Sequence[str | int] = (),
    batch: int = _BATCH,
    length: int | None = None,
    new_tokens: int | None = None,
    beams: int | None = None,
    revision: str | None = None,
    token: str | None = None,
    cache_dir: str | None = None,
    local_files_only: bool = False,
) -> MemoryPlan:
    """Tell what a model will need, from its config and the headers of its weights alone.

    Args:
        model: Hub id, local folder, or `"starter"`.
        task: What it is for; None takes it from the checkpoint.
        gpus: Memory of GPUs to plan for, such as `["8GiB"]`; empty means the devices here.
        batch: Texts at once.
        length: Tokens of each text; None means 128, or the model's window where it is shorter.
        new_tokens: Tokens to write for each text; None means as many as are read.
        beams: Continuations kept in mind; None means as the checkpoint says.
        revision: Branch, tag or commit of a hub id.
        token: Access token of the hub.
        cache_dir: Where downloads are kept; None means the hub's own cache.
        local_files_only: Whether to use only what is on this machine.

    Returns:
        The plan.

    Raises:
        ConfigurationError: A value that cannot be.
        ModelNotFoundError: There is no such checkpoint, or no weights in it.
        ModelLoadError: Its weights are not safetensors, or its files are damaged.
        IncompatibleModelError: It is outside the family or cannot do the task.
    """
    sizes = tuple(values.bytes_of(size, what="gpus") for size in gpus)
    if min(sizes, default=1) < 1:
        raise ConfigurationError(f"gpus={list(gpus)!r} has a GPU without memory. Give its size.")
    for name, value in (("batch", batch), ("length", length), ("beams", beams)):
        if value is not None and (isinstance(value, bool) or value < 1):
            raise ConfigurationError(f"{name}={value!r} is no number of at least 1.")
    spec = LoadSpec(
        task or "seq2seq",
        str(model) if isinstance(model, os.PathLike) else model,
        revision=revision,
        token=token,
        cache_dir=cache_dir,
        local_files_only=local_files_only,
    )
    spec = files.pin(spec)
    if task is None and not spec.is_starter:
        spec = replace(spec, task=_own_task(spec))
    settings = checks.read_settings(spec, with_tokenizer=False)
    # Rows that only the vocabulary tells apart do not differ in what matters here.
    rows = families_of(settings["model_type"], task=spec.task, model=spec.model)
    family = rows[0]
    headers = read_headers(spec)
    with quiet_transformers():
        config = read_config(spec)
        load = _load(spec, family, config, batch, length, new_tokens, beams)
        devices = stated_devices(sizes) if sizes else find_devices()
        plans = tuple(_setting_plans(spec, family, config, load, devices, headers.dtype))
    return MemoryPlan(
        model=spec.model,
        revision=spec.revision,
        task=spec.task,
        family=" or ".join(row.name for row in rows),
        parameters=plans[0][1],
        download_bytes=headers.nbytes,
        saved_dtype=headers.dtype,
        batch=load.batch,
        length=load.length,
        new_tokens=load.new_tokens,
        beams=load.beams,
        devices=devices,
        settings=tuple(plan for plan, _ in plans),
        recommended=_recommended([plan for plan, _ in plans], devices[0]),
        notes=tuple(_notes([plan for plan, _ in plans], devices[0])),
    )


def _own_task(spec: LoadSpec) -> Task:
    """What a checkpoint is for: its family and its head tell."""
    settings = files.read_json(spec, "config.json") or {}
    rows = [family for family in FAMILIES if family.model_type == settings.get("model_type")]
    tasks = rows[0].tasks if rows else ("encoder",)
    heads = str(settings.get("architectures") or "")
    if len(tasks) == 1 or "SequenceClassification" not in heads:
        return tasks[0]
    count = len(settings.get("id2label") or ()) or settings.get("num_labels", 2)
    return "cross-encoder" if count == 1 else "classifier"


def _load(
    spec: LoadSpec,
    family: Family,
    config: PreTrainedConfig,
    batch: int,
    length: int | None,
    new_tokens: int | None,
    beams: int | None,
) -> Load:
    """What to run, with what was not said filled in."""
    from langchain_xlm.models.activations import Load

    positions = getattr(getattr(config, "encoder", config), "max_position_embeddings", None)
    window = positions - family.position_offset if isinstance(positions, int) else None
    if length is not None and window is not None and length > window:
        raise ConfigurationError(
            f"length={length} is beyond the window of {spec.model!r}, {window} tokens."
        )
    length = length or min(_LENGTH, window or _LENGTH)
    if spec.task != "seq2seq":
        return Load(batch, length, new_tokens=0, beams=1)
    own = files.read_json(spec, "generation_config.json") or {}
    return Load(batch, length, new_tokens or length, beams or own.get("num_beams") or 1)


def _setting_plans(
    spec: LoadSpec,
    family: Family,
    config: PreTrainedConfig,
    load: Load,
    devices: Sequence[Device],
    saved_dtype: str,
) -> Iterator[tuple[SettingPlan, int]]:
    """The plan of each setting, with the number of parameters."""
    from langchain_xlm.models.activations import count_run_bytes

    main = devices[0]
    saved = getattr(config, "quantization_config", None) is not None
    for name, options in ({"as saved": {}} if saved else _SETTINGS).items():
        wanted = replace(spec, **options)
        dtype = _rest_dtype(wanted, family, config, main)
        skeleton = build_skeleton(wanted, family, config, dtype=dtype, device=main.kind)
        exact = _unquantized(spec, family, config, skeleton, main.kind)
        run = count_run_bytes(exact, load, skeleton if skeleton.quantizer else None)
        weights = skeleton.weight_bytes()
        loading = weights.total if saved else skeleton.loading_bytes(saved_dtype)
        peak = max(loading, weights.total + run.activations + run.cache)
        converting = _converting_bytes(wanted, main)
        plan = SettingPlan(
            setting=name,
            rest_dtype=str(dtype).removeprefix("torch."),
            backend=CTRANSLATE2 if converting else TORCH,
            converting_bytes=converting,
            weights=weights,
            activations_bytes=run.activations,
            cache_bytes=run.cache,
            loading_bytes=loading,
            left_out=skeleton.left_out,
            fits=tuple(fit(peak, device) for device in devices),
            placement=find_placement(skeleton, family, devices, peak),
        )
        yield plan, exact.parameters()


def _converting_bytes(spec: LoadSpec, main: Device) -> int:
    """What a copy for CTranslate2 takes to be made where `backend="auto"` would; else 0."""
    from langchain_xlm.models.converted import is_better_converted
    from langchain_xlm.models.converting import converting_bytes

    if main.kind != "cpu" or not is_better_converted(spec):
        return 0
    return converting_bytes(spec)


def _rest_dtype(
    spec: LoadSpec, family: Family, config: PreTrainedConfig, main: Device
) -> torch.dtype:
    """The dtype of what is not quantized; a GPU that is only stated computes in bfloat16."""
    import torch

    if spec.dtype == "auto" and not main.is_here:
        return torch.bfloat16
    return default_dtype(spec, family, config, auto_class(spec.task), device=main.kind)


def _unquantized(
    spec: LoadSpec, family: Family, config: PreTrainedConfig, skeleton: Skeleton, device: str
) -> Skeleton:
    """The same model with its layers in full, which torch can run without numbers."""
    if skeleton.quantizer is None:
        return skeleton
    config = type(config).from_dict(config.to_dict())
    if hasattr(config, "quantization_config"):
        del config.quantization_config
    return build_skeleton(spec, family, config, dtype=skeleton.dtype, device=device)


def _recommended(plans: Sequence[SettingPlan], main: Device) -> str | None:
    """The most exact setting that fits; on a GPU from 16 bits on, which are its default."""
    wanted = [plan for plan in plans if main.kind == "cpu" or plan.setting != "float32"]
    if main.kind == "cpu" and not computes_bfloat16():
        # A processor that imitates bfloat16 takes many times as long with it.
        wanted.sort(key=lambda plan: plan.setting == "bfloat16")
    return next((plan.setting for plan in wanted if plan.fits[0].fits), None)


def _notes(plans: Sequence[SettingPlan], main: Device) -> Iterator[str]:
    """Where quantization does not pay, in figures, and what else the table does not tell."""
    by_name = {plan.setting: plan for plan in plans}
    exact = next((each for each in plans if not each.weights.quantized), None)
    for name in ("8bit", "4bit"):
        plan = by_name.get(name)
        if plan is None or exact is None:
            continue
        exact = by_name.get(plan.rest_dtype, exact)
        saving = 1 - plan.weights.total / exact.weights.total
        if saving < _WORTH_IT:
            share = exact.weights.vocabulary / exact.weights.total
            stays = (
                f": the vocabulary's vectors are {share:.0%} of them"
                f" ({_mib(exact.weights.vocabulary)}) and stay in {plan.rest_dtype}"
            )
            in_full = plan.weights.vocabulary == exact.weights.vocabulary
            yield (
                f"{name} takes only {saving:.0%} off the weights ({_mib(exact.weights.total)} ->"
                f" {_mib(plan.weights.total)}){stays if in_full else ''}."
            )
    if converted := [plan for plan in plans if plan.converting_bytes]:
        yield (
            f"backend='auto' runs {' and '.join(plan.setting for plan in converted)} with"
            " CTranslate2 here, and the figures are those of torch. Making its copy takes up to"
            f" {_mib(max(plan.converting_bytes for plan in converted))}, once."
        )
    half = by_name.get("bfloat16")
    is_slow = main.kind == "cpu" and not computes_bfloat16()
    slow = ". But this processor imitates it, which takes many times as long" if is_slow else ""
    worse = [
        name
        for name in ("8bit", "4bit")
        if half and name in by_name and by_name[name].weights.total >= half.weights.total
    ]
    if half and worse:
        yield (
            f"bfloat16 is smaller than {' and '.join(worse)} here, and loses less:"
            f" {_mib(half.weights.total)}{slow}."
        )


def _mib(size: int) -> str:
    return f"{size / 2**20:,.0f} MiB"
