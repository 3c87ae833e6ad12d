"""What is compared: a model, how its weights are kept, and where it runs."""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from pydantic import ValidationError

from langchain_xlm.errors import ConfigurationError
from langchain_xlm.models.config import LoadingFields

__all__ = ["PRECISIONS", "System", "combine"]

PRECISIONS: Final[Mapping[str, Mapping[str, str]]] = {
    "none": {},
    "float32": {"dtype": "float32"},
    "bfloat16": {"dtype": "bfloat16"},
    "float16": {"dtype": "float16"},
    "8bit": {"quantization": "8bit"},
    "4bit": {"quantization": "4bit"},
}
"""How weights may be kept, and the loading fields of each; "none" is the device's usual."""


@dataclass(frozen=True)
class System:
    """A model as it is loaded for an evaluation.

    Attributes:
        model: Hub id, local folder or "starter".
        precision: A key of `PRECISIONS`.
        device: One device, or None for the best one here.
        loading: Further loading fields, by name.
    """

    model: str = "starter"
    precision: str = "none"
    device: str | None = None
    loading: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        """Refuse what cannot work before anything is loaded.

        Raises:
            ConfigurationError: An unknown precision, or one that contradicts `loading`.
        """
        if self.precision not in PRECISIONS:
            raise ConfigurationError(
                f"quantization={self.precision!r} is unknown. Give one of {', '.join(PRECISIONS)}."
            )
        twice = PRECISIONS[self.precision].keys() & self.loading.keys()
        if twice:
            raise ConfigurationError(
                f"The precision {self.precision!r} sets {', '.join(twice)} already: leave it out of"
                " the other loading fields."
            )
        try:
            LoadingFields(**self.fields())
        except ValidationError as error:
            fault = error.errors()[0]
            name = str(fault["loc"][0]) + ": " if fault["loc"] else ""
            reason = fault["msg"].removeprefix("Value error, ")
            raise ConfigurationError(f"{self.name}: {name}{reason}") from error

    @property
    def name(self) -> str:
        """What reports call it: "starter", "starter · 4bit", "my-model · bfloat16 · cuda:0"."""
        folder = Path(self.model)
        short = folder.name if folder.is_absolute() else self.model
        parts = [short, self.precision if self.precision != "none" else "", self.device or ""]
        return " · ".join(part for part in parts if part)

    def fields(self) -> dict[str, Any]:
        """Return its loading fields, as every public class takes them."""
        given = {"model": self.model, "device": self.device, **self.loading}
        return {**given, **PRECISIONS[self.precision]}

    def identity(self) -> dict[str, str]:
        """Return what tells its answers from those of others, without secrets."""
        hidden = {"token", "cache_dir", "local_files_only", "offload_folder"}
        return {name: str(value) for name, value in self.fields().items() if name not in hidden}


def combine(
    models: Sequence[str] = ("starter",),
    precisions: Sequence[str] = ("none",),
    devices: Sequence[str | None] = (None,),
    *,
    loading: Mapping[str, Any] | None = None,
) -> list[System]:
    """List every combination, models first.

    Args:
        models: Hub ids, local folders or "starter".
        precisions: Keys of `PRECISIONS`.
        devices: Devices; None is the best one here.
        loading: Loading fields that all share.

    Returns:
        The systems.

    Raises:
        ConfigurationError: Two of them are the same, or one cannot work.
    """
    grid = itertools.product(models, precisions, devices)
    systems = [System(model, precision, device, loading or {}) for model, precision, device in grid]
    names = [system.name for system in systems]
    for name in names:
        if names.count(name) > 1:
            raise ConfigurationError(
                f"{name!r} stands for two systems: give models, quantizations and devices once,"
                " and folders different names."
            )
    return systems
