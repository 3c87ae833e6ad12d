"""The options that say which model to load and how: one for each loading field."""

from __future__ import annotations

import functools
import inspect
import json
import re
from collections.abc import Callable, Collection
from typing import Annotated, Any, Final

import typer
from pydantic import ValidationError
from pydantic.fields import FieldInfo

from langchain_xlm.models.config import LoadingFields

Loading = dict[str, Any]
"""The loading fields that were given, ready for a tool or `XLMEmbeddings`."""

_PAIRS: Final = ("max_memory",)
_DICT: Final = re.compile(r"\{(.*?)\}")


def with_loading_options(
    command: Callable[..., None], *, only: Collection[str] = tuple(LoadingFields.model_fields)
) -> Callable[..., None]:
    """Give a command an option for each field of `LoadingFields`.

    Names, help and defaults are those of the fields: nothing is written down twice. A field that
    the command has a parameter of its own for gets no option here.

    Args:
        command: A function with a keyword parameter `loading`, a dict of what was given.
        only: The fields that get an option; all of them unless told otherwise.

    Returns:
        The function for typer, with the options in place of `loading`.
    """
    own = [
        parameter
        for parameter in inspect.signature(command, eval_str=True).parameters.values()
        if parameter.name != "loading"
    ]
    taken = {parameter.name for parameter in own}
    options = [
        _option(name, field)
        for name, field in LoadingFields.model_fields.items()
        if name not in taken and name in only
    ]

    @functools.wraps(command)
    def with_options(**arguments: Any) -> None:
        given = {option.name: arguments.pop(option.name) for option in options}
        loading = {name: value for name, value in given.items() if value not in (None, False)}
        command(**arguments, loading=_checked(loading))

    parameters = [parameter.replace(kind=parameter.KEYWORD_ONLY) for parameter in (*own, *options)]
    with_options.__signature__ = inspect.Signature(parameters)  # type: ignore[attr-defined]
    with_options.__annotations__ = {each.name: each.annotation for each in parameters}
    del with_options.__wrapped__
    return with_options


def _option(name: str, field: FieldInfo) -> inspect.Parameter:
    flag = field.annotation is bool
    option = typer.Option(
        f"--{name.replace('_', '-')}",
        help=_words(field.description or ""),
        rich_help_panel="Model",
        metavar=None if flag else "KEY=VALUE,..." if name in _PAIRS else "TEXT",
        show_default=field.default if isinstance(field.default, str) else False,
    )
    kind = bool if flag else str | None
    return inspect.Parameter(
        name,
        inspect.Parameter.KEYWORD_ONLY,
        default=False if flag else None,
        annotation=Annotated[kind, option],
    )


def _words(description: str) -> str:
    """Put what is said of a field in terms of Python as one types it in a shell."""
    text = " ".join(description.replace("`", "").replace('"', "").split())
    return _DICT.sub(lambda found: found[1].replace(": ", "=").replace(", ", ","), text)


def _checked(given: Loading) -> Loading:
    loading = {name: _value(name, value) for name, value in given.items()}
    try:
        LoadingFields(**loading)
    except ValidationError as error:
        fault = error.errors()[0]
        name = str(fault["loc"][0]).replace("_", "-") if fault["loc"] else ""
        message = fault["msg"].removeprefix("Value error, ")
        raise typer.BadParameter(message, param_hint=f"--{name}" if name else None) from error
    return loading


def _value(name: str, value: Any) -> Any:
    if not isinstance(value, str):
        return value
    option = f"--{name.replace('_', '-')}"
    if value.startswith("{"):
        try:
            return json.loads(value, object_hook=_number_keys)
        except json.JSONDecodeError as error:
            raise typer.BadParameter(f"{value!r} is not JSON: {error}", param_hint=option) from None
    if name in _PAIRS:
        pairs = [pair.partition("=") for pair in value.split(",")]
        if not all(key and amount for key, _, amount in pairs):
            raise typer.BadParameter(
                f"{value!r} does not read like 0=6GiB,cpu=20GiB", param_hint=option
            )
        return _number_keys({key.strip(): amount.strip() for key, _, amount in pairs})
    return value


def _number_keys(mapping: dict[str, Any]) -> dict[str | int, Any]:
    # Devices are numbers in a device map; JSON and the command line have only strings.
    return {int(key) if key.isdecimal() else key: value for key, value in mapping.items()}
