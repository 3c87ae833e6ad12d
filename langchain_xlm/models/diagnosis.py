"""What this machine has and can do, and the setting that suits it."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from typing import Any

from langchain_xlm.models.fitting import USABLE
from langchain_xlm.models.machine import Device, find_devices
from langchain_xlm.models.trials import Trial, try_device

__all__ = ["Diagnosis", "Recommendation", "diagnose"]

_NEEDED = (
    "langchain-xlm",
    "torch",
    "transformers",
    "tokenizers",
    "safetensors",
    "accelerate",
    "bitsandbytes",
    "huggingface-hub",
    "langchain-core",
)
_OPTIONAL = {
    "pyarrow": "Parquet output of embed",
    "sacrebleu": "evaluation of translation",
    "altair": "charts of evaluation",
    "mteb": "MTEB",
    "ctranslate2": "CTranslate2",
    "matplotlib": "pictures of attention",
    "flash-attn": "attention flash_attention_2",
}
# Bytes for each parameter, by how it is loaded.
_ITEM_BYTES = {"float32": 4.0, "bfloat16": 2.0, "float16": 2.0, "8bit": 1.0, "4bit": 0.6}


@dataclass(frozen=True, slots=True)
class Recommendation:
    """What to give the loading fields on this machine.

    Attributes:
        device: The device that models go to.
        dtype: The dtype that `"auto"` stands for there.
        largest: For each way of loading that works, the millions of parameters that fit, with a
            third of the free memory left to results and cache.
    """

    device: str
    dtype: str
    largest: dict[str, int]


@dataclass(frozen=True, slots=True)
class Diagnosis:
    """What this machine has and can do.

    Attributes:
        packages: Versions of the packages that are needed.
        optional: Versions of those that some things need; None for one that is not there.
        devices: The devices, the best first.
        trials: What was tried on them.
        cache_path: Where the hub's downloads are kept.
        cache_bytes: How much is in it; None where there is no such folder.
        recommended: The setting that suits.
    """

    packages: dict[str, str | None]
    optional: dict[str, str | None]
    devices: tuple[Device, ...]
    trials: tuple[Trial, ...]
    cache_path: str
    cache_bytes: int | None
    recommended: Recommendation

    def to_dict(self) -> dict[str, Any]:
        """Give the diagnosis as what JSON can hold.

        Returns:
            The fields by their names.
        """
        return asdict(self)


def diagnose() -> Diagnosis:
    """Look at this machine and try what its devices can do.

    Returns:
        What was found.
    """
    from huggingface_hub.constants import HF_HUB_CACHE

    devices = find_devices()
    trials = tuple(trial for device in devices for trial in try_device(device.name))
    return Diagnosis(
        packages={name: _version(name) for name in _NEEDED},
        optional={name: _version(name) for name in _OPTIONAL},
        devices=devices,
        trials=trials,
        cache_path=str(HF_HUB_CACHE),
        cache_bytes=_cache_bytes(),
        recommended=_recommendation(devices[0], trials),
    )


def purpose_of(package: str) -> str:
    """Tell what an optional package is for.

    Args:
        package: Its name.

    Returns:
        A few words.
    """
    return _OPTIONAL[package]


def _recommendation(device: Device, trials: tuple[Trial, ...]) -> Recommendation:
    from transformers import XLMRobertaConfig

    from langchain_xlm.models.config import LoadSpec
    from langchain_xlm.models.dtypes import default_dtype
    from langchain_xlm.models.families import FAMILIES
    from langchain_xlm.models.skeleton import auto_class

    spec = LoadSpec("encoder", device=device.name)
    family = next(each for each in FAMILIES if each.model_type == "xlm-roberta")
    base = XLMRobertaConfig()
    dtype = default_dtype(spec, family, base, auto_class(spec.task), device=device.name)
    works = [each.name for each in trials if each.works and each.device == device.name]
    room = USABLE * device.free_bytes * 2 / 3
    largest = {name: int(room / size / 1e6) for name, size in _ITEM_BYTES.items() if name in works}
    return Recommendation(device.name, str(dtype).removeprefix("torch."), largest)


def _cache_bytes() -> int | None:
    from huggingface_hub import scan_cache_dir
    from huggingface_hub.errors import CacheNotFound

    try:
        return int(scan_cache_dir().size_on_disk)
    except (CacheNotFound, ValueError):
        return None


def _version(package: str) -> str | None:
    try:
        return version(package)
    except PackageNotFoundError:
        return None
