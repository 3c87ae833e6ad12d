"""What to load and how: a frozen value, checked before any file is read."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import Annotated, Any, Literal, Self, get_args

from pydantic import BaseModel, BeforeValidator, ConfigDict, SecretStr, StrictBool, model_validator

from langchain_xlm.errors import ConfigurationError
from langchain_xlm.models import backends, values

__all__ = ["LoadSpec", "LoadingFields", "Task"]

Task = Literal["encoder", "classifier", "seq2seq", "cross-encoder"]
"""What a model is asked to do; it decides the head that is loaded."""

_STARTER_FOLDERS = {"encoder": "encoder", "classifier": "encoder", "seq2seq": "translation"}


@dataclass(frozen=True, slots=True)
class LoadSpec:
    """Everything that decides what ends up in memory; equal specs may share one loaded model.

    All values are brought to one form when the spec is made (`"fp16"` and `torch.float16` are
    `"float16"`, a folder is its absolute path), so that equal wishes make equal specs. The fields
    are those of `LoadingFields`, which tells what each one means.

    Raises:
        ConfigurationError: A value or combination that cannot work.
    """

    task: Task
    model: str = values.STARTER
    revision: str | None = None
    device: str | None = None
    device_map: str | Mapping[str, str | int] | tuple[tuple[str, str | int], ...] | None = None
    max_memory: Mapping[str | int, str | int] | tuple[tuple[str | int, int], ...] | None = None
    offload_folder: str | None = None
    dtype: str = "auto"
    quantization: str | None = None
    attn_implementation: str | None = None
    backend: str = "auto"
    trust_remote_code: bool = False
    token: SecretStr | str | None = field(default=None, repr=False)
    cache_dir: str | None = None
    local_files_only: bool = False

    def __post_init__(self) -> None:
        """Bring every value to its one form and refuse what cannot work."""
        if self.task not in get_args(Task):
            raise ConfigurationError(
                f"task={self.task!r} is unknown. Give one of {', '.join(get_args(Task))}."
            )
        token = self.token
        placed = values.device_map_value(self.device_map)
        limits = values.memory_limits(self.max_memory)
        canonical: dict[str, object] = {
            "model": values.model_name(self.model),
            "revision": values.revision_name(self.revision),
            "device": values.device_name(self.device),
            "device_map": tuple(placed.items()) if isinstance(placed, dict) else placed,
            "max_memory": None if limits is None else tuple(limits.items()),
            "offload_folder": _path(self.offload_folder),
            "dtype": values.dtype_name(self.dtype),
            "quantization": values.quantization_value(self.quantization),
            "attn_implementation": values.attention_name(self.attn_implementation),
            "backend": backends.backend_name(self.backend),
            "token": SecretStr(token) if isinstance(token, str) else token,
            "cache_dir": _path(self.cache_dir),
        }
        for name, value in canonical.items():
            object.__setattr__(self, name, value)
        for name in ("trust_remote_code", "local_files_only"):
            if not isinstance(getattr(self, name), bool):
                raise ConfigurationError(f"{name}={getattr(self, name)!r} is not True or False.")
        for wrong, sentence in _combinations(self):
            if wrong:
                raise ConfigurationError(sentence)
        if not backends.matters(self):
            # Equal models are shared, whatever is said of a choice that there is not.
            object.__setattr__(self, "backend", "auto")

    @property
    def is_starter(self) -> bool:
        """Whether the bundled checkpoint is meant."""
        return self.model == values.STARTER

    @property
    def folder(self) -> Path | None:
        """Where the files are on this machine, or None for a hub id."""
        if self.is_starter:
            return Path(__file__).parent / "starter" / _STARTER_FOLDERS[self.task]
        return Path(self.model) if Path(self.model).is_absolute() else None

    @property
    def token_value(self) -> str | None:
        """The access token in the clear, for the hub alone."""
        return self.token.get_secret_value() if isinstance(self.token, SecretStr) else self.token

    @property
    def places(self) -> dict[str, str | int]:
        """The device map where it is given module by module, else empty."""
        return dict(self.device_map) if isinstance(self.device_map, tuple) else {}


def _path(value: str | Path | None) -> str | None:
    return None if value is None else str(Path(value).expanduser().absolute())


def _combinations(spec: LoadSpec) -> Iterator[tuple[bool, str]]:
    """Each combination that cannot work, with what to do instead."""
    places = set(spec.places.values())
    quantized = spec.quantization is not None
    yield (
        spec.device is not None and spec.device_map is not None,
        f"device={spec.device!r} and device_map={spec.device_map!r} contradict each other."
        " Give device for one place, or device_map to spread the model; not both.",
    )
    yield (
        spec.max_memory is not None and spec.device_map is None,
        "max_memory limits what a device map may use, but there is none."
        " Give device_map='auto' with it.",
    )
    yield (
        spec.max_memory is not None and bool(places),
        "max_memory limits what a strategy may use, but device_map already names every place."
        " Give device_map='auto' with it, or leave max_memory out.",
    )
    yield (
        "disk" in places and spec.offload_folder is None,
        "device_map sends modules to 'disk' without a folder to put them in."
        " Give offload_folder as well.",
    )
    yield (
        spec.offload_folder is not None and spec.device_map is None,
        f"offload_folder={spec.offload_folder!r} is used only by a device map."
        " Give device_map='auto' with it.",
    )
    yield (
        quantized and ("mps" in places or spec.device == "mps"),
        "Quantization is not supported on device 'mps'."
        " Give dtype='float16' there, or device='cpu' with the quantization.",
    )
    yield (
        spec.quantization in ("8bit", "4bit") and spec.dtype == "float32",
        f"quantization={spec.quantization!r} and dtype='float32' contradict each other."
        " Leave dtype='auto', or leave the quantization out.",
    )
    keeps_in_full = 'llm_int8_enable_fp32_cpu_offload": true' in (spec.quantization or "")
    yield (
        spec.offload_folder is not None and bool(places) and "disk" not in places,
        f"offload_folder={spec.offload_folder!r} is given, but device_map sends nothing to 'disk'."
        " Send modules there, or leave offload_folder out.",
    )
    yield (
        isinstance(spec.max_memory, tuple) and not any(size for _, size in spec.max_memory),
        "max_memory leaves no room on any device. Give one at least some, such as {'cpu': '8GiB'}.",
    )
    yield (
        quantized and spec.offload_folder is not None and not keeps_in_full,
        f"offload_folder={spec.offload_folder!r} is for modules on the disk, and what is quantized"
        " cannot go there. Leave offload_folder out, or give quantization=BitsAndBytesConfig("
        "load_in_8bit=True, llm_int8_enable_fp32_cpu_offload=True) with a device_map of modules.",
    )
    yield (
        keeps_in_full and not places,
        "llm_int8_enable_fp32_cpu_offload keeps the modules that a device map sends away in 32"
        " bits, but device_map names none. Give one such as {'encoder': 0, 'pooler': 'cpu'}.",
    )
    offloaded = places & {"disk", "cpu"}
    yield (
        quantized
        and ("disk" in places or (bool(offloaded) and places != {"cpu"}))
        and not keeps_in_full,
        "Modules that a device map sends to the CPU or the disk cannot be quantized beside those"
        " on a GPU. Give quantization=BitsAndBytesConfig(load_in_8bit=True,"
        " llm_int8_enable_fp32_cpu_offload=True), which keeps them in 32 bits.",
    )
    flash = (spec.attn_implementation or "").startswith("flash_attention")
    yield (
        flash and (spec.dtype == "float32" or spec.device in ("cpu", "mps") or places == {"cpu"}),
        f"attn_implementation={spec.attn_implementation!r} needs a CUDA device and dtype"
        " 'bfloat16' or 'float16'. Give 'sdpa' instead.",
    )
    yield (
        spec.revision is not None and spec.folder is not None,
        f"revision={spec.revision!r} has no meaning for"
        f" {'the bundled starter' if spec.is_starter else 'a local folder'}."
        " Leave it out, or give a hub id as the model.",
    )
    yield (
        spec.is_starter and spec.task not in _STARTER_FOLDERS,
        "The bundled starter has no cross-encoder."
        " Give a checkpoint such as model='BAAI/bge-reranker-v2-m3'.",
    )
    pinned = re.fullmatch(r"[0-9a-f]{40}", spec.revision or "")
    yield (
        spec.trust_remote_code and (spec.is_starter or (spec.folder is None and not pinned)),
        "trust_remote_code=True runs code from a repository. For a hub id give the full commit"
        " that you have read as revision; for the starter leave it out.",
    )
    if spec.backend == backends.CTRANSLATE2:
        yield from ((True, sentence) for sentence in backends.obstacles(spec))


_Model = Annotated[str, BeforeValidator(values.model_name)]
_Revision = Annotated[str | None, BeforeValidator(values.revision_name)]
_Device = Annotated[str | None, BeforeValidator(values.device_name)]
_DeviceMap = Annotated[str | dict[str, str | int] | None, BeforeValidator(values.device_map_value)]
_Limits = Annotated[dict[str | int, int] | None, BeforeValidator(values.memory_limits)]
_Dtype = Annotated[str, BeforeValidator(values.dtype_name)]
_Quantization = Annotated[str | None, BeforeValidator(values.quantization_value)]
_Attention = Annotated[str | None, BeforeValidator(values.attention_name)]
_Backend = Annotated[str, BeforeValidator(backends.backend_name)]


class LoadingFields(BaseModel):
    """The loading fields that every public class has; see each for what it takes."""

    # The input of a refused call may hold the token, so pydantic must not quote it.
    model_config = ConfigDict(
        extra="forbid",
        protected_namespaces=(),
        hide_input_in_errors=True,
        use_attribute_docstrings=True,
    )

    model: _Model = values.STARTER
    """Hub id, local folder, or `"starter"` for the small checkpoints that come with the package."""
    revision: _Revision = None
    """Branch, tag or commit of a hub id; None means its main branch."""
    device: _Device = None
    """One device for the whole model, such as `"cuda:1"`; None means the best one here."""
    device_map: _DeviceMap = None
    """`"auto"`, `"balanced"`, `"balanced_low_0"`, `"sequential"`, or a map of module names."""
    max_memory: _Limits = None
    """Limits for the device map, such as `{0: "6GiB", "cpu": "16GiB"}`."""
    offload_folder: str | None = None
    """Folder for modules that the device map sends to the disk."""
    dtype: _Dtype = "auto"
    """`"float32"`, `"bfloat16"`, `"float16"`, or `"auto"`: 16 bits where they pay, else 32."""
    quantization: _Quantization = None
    """`"8bit"`, `"4bit"`, a `BitsAndBytesConfig`, or None."""
    attn_implementation: _Attention = None
    """Attention of transformers: `"sdpa"`, `"eager"`, `"flash_attention_2"`, ...; None chooses."""
    backend: _Backend = "auto"
    """What runs a model: `"torch"`, `"ctranslate2"` (on the CPU, not classifiers), or `"auto"`."""
    trust_remote_code: StrictBool = False
    """Whether code from the checkpoint may run; for a hub id only at a pinned commit."""
    token: SecretStr | None = None
    """Access token for private or gated checkpoints of the hub."""
    cache_dir: str | None = None
    """Where downloads are kept; None means the hub's own cache."""
    local_files_only: StrictBool = False
    """Whether to use only what is already on this machine."""

    @model_validator(mode="after")
    def _check_loading(self) -> Self:
        self.load_spec("encoder")
        return self

    def load_spec(self, task: Task, *, model: str | None = None) -> LoadSpec:
        """Make the frozen spec of one model.

        Args:
            task: What the model is for.
            model: Another model than the field's, loaded in the same way; `owner/name@revision`
                pins it.

        Returns:
            The spec, checked.

        Raises:
            ConfigurationError: A combination that cannot work.
        """
        given: dict[str, Any] = {
            name.name: getattr(self, name.name) for name in fields(LoadSpec) if name.name != "task"
        }
        if model is not None:
            name, revision = values.pinned_name(model)
            if name != self.model or (revision or self.revision) != self.revision:
                # A revision, and trust in its code, belong to the model they were given for.
                given |= {"model": name, "revision": revision, "trust_remote_code": False}
        return LoadSpec(task=task, **given)
