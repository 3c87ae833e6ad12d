"""How a model is loaded: from a spec to `from_pretrained` arguments."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from langchain_xlm.errors import ConfigurationError, MissingDependencyError
from langchain_xlm.models import files
from langchain_xlm.models.config import LoadSpec
from langchain_xlm.models.device_maps import computing_device, places_of
from langchain_xlm.models.dtypes import check_numbers, default_dtype
from langchain_xlm.models.families import Family, families_of
from langchain_xlm.models.quantization import import_bitsandbytes, quantization_settings

if TYPE_CHECKING:
    from transformers import PreTrainedConfig

__all__ = ["check_packages", "from_pretrained_arguments"]

# Where the name to import is not the name to install; its parent is there in any case or not.
_IMPORT_NAMES = {"protobuf": "google"}


def check_packages(spec: LoadSpec, settings: Mapping[str, Any]) -> None:
    """Refuse early where a package that this way of loading needs is not installed.

    Args:
        spec: What to load.
        settings: The content of config.json.

    Raises:
        MissingDependencyError: With the package to install.
        ConfigurationError: The checkpoint is saved quantized in a way that is not supported.
    """
    rows = families_of(settings.get("model_type"), task=spec.task, model=spec.model)
    needs = dict.fromkeys(rows[0].packages, f"The tokenizer of {rows[0].name}")
    saved = settings.get("quantization_config") or {}
    if (method := saved.get("quant_method", "bitsandbytes")) != "bitsandbytes":
        raise ConfigurationError(
            f"{spec.model!r} is saved quantized with {method!r}, which is not supported. Give the"
            " checkpoint that it was made from, with quantization='4bit'."
        )
    if spec.quantization is not None or saved.get("quant_method") == "bitsandbytes":
        needs["bitsandbytes"] = "Quantization"
    if spec.quantization is not None or spec.device_map is not None:
        needs["accelerate"] = "Placing parts of a model"
    if not rows[0].packages and files.find_file(spec, "tokenizer.json") is None:
        needs["protobuf"] = "A tokenizer that is not saved as tokenizer.json"
    for package, needed_for in needs.items():
        if importlib.util.find_spec(_IMPORT_NAMES.get(package, package)) is None:
            raise MissingDependencyError(package, needed_for=needed_for)
    if "bitsandbytes" in needs:
        import_bitsandbytes()


def from_pretrained_arguments(
    spec: LoadSpec, config: PreTrainedConfig, family: Family, model_class: type
) -> dict[str, Any]:
    """Make the arguments that place the model; none of them is for the tokenizer.

    Args:
        spec: What to load.
        config: The checkpoint's own configuration.
        family: The row of the family table.
        model_class: The auto class that will load it.

    Returns:
        `dtype`, and where they are needed `device_map`, `max_memory`, `offload_folder`,
        `quantization_config` and `attn_implementation`.

    Raises:
        ConfigurationError: The family cannot be split as asked, or lacks what was asked for.
    """
    places = places_of(spec, family, config, model_class)
    main = computing_device(places)
    dtype = default_dtype(spec, family, config, model_class, device=main)
    arguments: dict[str, Any] = {"dtype": dtype}
    check_numbers(spec, family, main)
    if places != {"": "cpu"} or spec.device_map is not None:
        arguments["device_map"] = places
    if isinstance(places, str) and spec.max_memory is not None:
        arguments["max_memory"] = dict(spec.max_memory)
    if spec.offload_folder is not None:
        arguments["offload_folder"] = spec.offload_folder
    if spec.attn_implementation is not None:
        arguments["attn_implementation"] = spec.attn_implementation
    if spec.quantization is not None:
        if getattr(config, "quantization_config", None) is not None:
            raise ConfigurationError(
                f"{spec.model!r} is saved quantized already. Leave quantization out."
            )
        if main == "mps":
            raise ConfigurationError(
                "Quantization is not supported on this machine's device 'mps'."
                " Give device='cpu' with the quantization, or leave it out."
            )
        arguments["quantization_config"] = quantization_settings(
            spec, config, model_class, dtype=dtype, device=main
        )
    return arguments
