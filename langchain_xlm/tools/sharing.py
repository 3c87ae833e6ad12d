"""The loading fields of one object, handed on to another that loads in the same way."""

from __future__ import annotations

from typing import Any

from langchain_xlm.models.config import LoadingFields


def loading_arguments(fields: LoadingFields, *, model: str | None = None) -> dict[str, Any]:
    """Return the loading fields as arguments of another tool.

    Args:
        fields: Whose fields are handed on.
        model: Another model than its own, loaded in the same way; None keeps its own.

    Returns:
        One argument for each loading field; the revision and the trust in a model's code are
        handed on only with the model that they were given for.
    """
    spec = fields.load_spec("encoder", model=model)
    arguments = {name: getattr(fields, name) for name in LoadingFields.model_fields}
    own = ("model", "revision", "trust_remote_code")
    return arguments | {name: getattr(spec, name) for name in own}
