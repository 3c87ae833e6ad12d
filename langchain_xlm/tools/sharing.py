"""The loading fields of one object, handed on to another that loads in the same way."""

from __future__ import annotations

from typing import Any

from langchain_xlm.models.config import LoadingFields

# They belong to the model that they were given for.
_OF_ONE_MODEL = ("revision", "trust_remote_code")


def loading_arguments(fields: LoadingFields, *, model: str | None = None) -> dict[str, Any]:
    """Return the loading fields as arguments of another tool.

    Args:
        fields: Whose fields are handed on.
        model: Another model than its own, loaded in the same way; None keeps its own.

    Returns:
        One argument for each loading field; the revision and the trust in a model's code are
        handed on only with the model that they were given for.
    """
    arguments = {name: getattr(fields, name) for name in LoadingFields.model_fields}
    if model is None or model == fields.model:
        return arguments
    for name in _OF_ONE_MODEL:
        arguments.pop(name)
    return arguments | {"model": model}
