"""A memory plan: what is told of a model before it is loaded."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from langchain_xlm.models.backends import Backend
from langchain_xlm.models.config import Task
from langchain_xlm.models.fitting import Fit, Placement
from langchain_xlm.models.machine import Device
from langchain_xlm.models.skeleton import WeightBytes

__all__ = ["MemoryPlan", "SettingPlan"]


@dataclass(frozen=True, slots=True)
class SettingPlan:
    """What one way of loading a model takes.

    Attributes:
        setting: `"float32"`, `"bfloat16"`, `"8bit"`, `"4bit"`, or `"as saved"` for a checkpoint
            that is saved quantized.
        rest_dtype: The dtype of all that is not quantized.
        backend: What `backend="auto"` would run it with on the first device. The figures are those
            of torch in any case.
        converting_bytes: What making the copy for CTranslate2 takes, once; 0 for torch.
        weights: The weights, by what they are.
        activations_bytes: What intermediate results take at the highest point, beside the cache.
        cache_bytes: Keys and values at the end of generation; 0 for a model that writes nothing.
        loading_bytes: The highest point while it loads. Pages of the files come on top on a
            CPU, but the system takes them back when memory is short.
        left_out: Names of linear layers that a quantization leaves in full.
        fits: For each device whether the model fits it whole.
        placement: Where it would go.
    """

    setting: str
    rest_dtype: str
    backend: Backend
    converting_bytes: int
    weights: WeightBytes
    activations_bytes: int
    cache_bytes: int
    loading_bytes: int
    left_out: tuple[str, ...]
    fits: tuple[Fit, ...]
    placement: Placement

    @property
    def running_bytes(self) -> int:
        """Weights, activations and cache together."""
        return self.weights.total + self.activations_bytes + self.cache_bytes

    @property
    def peak_bytes(self) -> int:
        """The highest point, loading or running."""
        return max(self.loading_bytes, self.running_bytes)


@dataclass(frozen=True, slots=True)
class MemoryPlan:
    """What a model needs in each way of loading it.

    Attributes:
        model: Hub id or folder.
        revision: The commit of the hub that was looked at; None for a folder.
        task: What the model is for.
        family: Name of its family.
        parameters: Numbers that were learned and are loaded.
        download_bytes: Bytes of the weights as they are saved.
        saved_dtype: In which dtype most of them are, as safetensors names it.
        batch: Texts at once.
        length: Tokens of each text.
        new_tokens: Tokens written for each; 0 for a model that writes none.
        beams: Continuations kept in mind for each text.
        devices: The devices that were considered, in order.
        settings: One plan for each way of loading.
        recommended: The first setting, from the most exact, that fits the first device; None
            where none does.
        notes: What the figures mean, in sentences.
    """

    model: str
    revision: str | None
    task: Task
    family: str
    parameters: int
    download_bytes: int
    saved_dtype: str
    batch: int
    length: int
    new_tokens: int
    beams: int
    devices: tuple[Device, ...]
    settings: tuple[SettingPlan, ...]
    recommended: str | None
    notes: tuple[str, ...]

    def to_dict(self) -> dict[str, Any]:
        """Give the plan as what JSON can hold, sums included.

        Returns:
            The fields by their names.
        """
        plan = asdict(self)
        for written, setting in zip(plan["settings"], self.settings, strict=True):
            written["weights"]["total"] = setting.weights.total
            written["running_bytes"] = setting.running_bytes
            written["peak_bytes"] = setting.peak_bytes
        return plan
