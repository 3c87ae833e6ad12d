"""Every exception that the package raises on purpose.

    XLMError
    ├ ConfigurationError(ValueError)      a bad combination, found before any I/O
    │ ├ UnsupportedLanguageError          .code .model .suggestions
    │ └ IncompatibleModelError            .model .task .found
    ├ MissingDependencyError(ImportError) .package .extra
    ├ ModelLoadError(OSError)             .model
    │ ├ ModelNotFoundError
    │ └ InsufficientMemoryError           .needed_bytes .free_bytes .device
    ├ ModelRunError(RuntimeError)         .model
    ├ RequestTimeoutError(TimeoutError)   .timeout_s .model
    ├ ModelUnloadedError(RuntimeError)    .model
    ├ InputError(ValueError)
    │ └ InputTooLongError                 .tokens .limit .index
    └ DataFormatError(ValueError)         .path .line

Each builds one sentence or two from its fields: what was wrong, with the value, and what to
do next. All survive pickling, so that they cross process borders whole.
"""

from __future__ import annotations

from collections.abc import Sequence

__all__ = [
    "ConfigurationError",
    "DataFormatError",
    "IncompatibleModelError",
    "InputError",
    "InputTooLongError",
    "InsufficientMemoryError",
    "MissingDependencyError",
    "ModelLoadError",
    "ModelNotFoundError",
    "ModelRunError",
    "ModelUnloadedError",
    "RequestTimeoutError",
    "UnsupportedLanguageError",
    "XLMError",
]


class XLMError(Exception):
    """The root of the tree: catch it to catch everything the package raises on purpose."""

    def __reduce__(self) -> tuple[object, ...]:
        """Rebuild from the finished message and the fields, whatever `__init__` asks for."""
        return (_rebuild, (type(self), self.args, self.__dict__.copy()))


def _rebuild(kind: type[XLMError], args: tuple[object, ...], fields: dict[str, object]) -> XLMError:
    error = kind.__new__(kind, *args)
    error.args = args
    error.__dict__.update(fields)
    return error


class ConfigurationError(XLMError, ValueError):
    """A value or combination that cannot work, found before any file is read."""


class UnsupportedLanguageError(ConfigurationError):
    """A language name that nothing answers to, or that the model does not know.

    Attributes:
        code: The name as the caller gave it.
        model: The model that was asked, or None where no model was involved.
        suggestions: The nearest valid choices, best first.
    """

    def __init__(
        self,
        code: str,
        *,
        model: str | None = None,
        suggestions: Sequence[str] = (),
        reason: str | None = None,
    ) -> None:
        self.code = code
        self.model = model
        self.suggestions = tuple(suggestions)
        if reason is None:
            where = "is not a known language" if model is None else f"is not known to {model!r}"
            reason = f"Language {code!r} {where}"
        hint = (
            f" Nearest valid choices: {', '.join(self.suggestions)}."
            if self.suggestions
            else " Give a language code such as 'fr' or a name such as 'French'."
        )
        super().__init__(f"{reason}.{hint}")


class IncompatibleModelError(ConfigurationError):
    """A checkpoint that cannot do what is asked of it.

    Attributes:
        model: Hub id or folder as the caller gave it.
        task: What it was asked to do.
        found: What the checkpoint is instead.
    """

    def __init__(self, model: str, *, task: str, found: str, advice: str) -> None:
        self.model = model
        self.task = task
        self.found = found
        super().__init__(f"{model!r} cannot serve as {task}: {found}. {advice}")


class MissingDependencyError(XLMError, ImportError):
    """A package that an optional feature needs is not installed.

    Attributes:
        package: The name to import.
        extra: The extra of langchain-xlm that brings it, or None.
    """

    def __init__(self, package: str, *, needed_for: str, extra: str | None = None) -> None:
        self.package = package
        self.extra = extra
        target = f"langchain-xlm[{extra}]" if extra else package
        super().__init__(f"{needed_for} needs the package {package!r}: pip install '{target}'.")


class ModelLoadError(XLMError, OSError):
    """A model that could not be brought into memory; the cause is chained.

    Attributes:
        model: Hub id or folder as the caller gave it.
    """

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        super().__init__(f"Could not load {model!r}: {reason}")

    def __str__(self) -> str:
        """Return the message alone (`OSError` would take two arguments for errno and text)."""
        return str(self.args[0])


class ModelNotFoundError(ModelLoadError):
    """No such hub id, revision or folder, or a folder without a needed file."""


class InsufficientMemoryError(ModelLoadError):
    """The model or a batch does not fit.

    Attributes:
        needed_bytes: What was asked for; None where the library below did not tell.
        free_bytes: What was there; None likewise.
        device: Where.
    """

    def __init__(
        self,
        model: str,
        *,
        needed_bytes: int | None = None,
        free_bytes: int | None = None,
        device: str = "cpu",
        advice: str | None = None,
        while_running: bool = False,
    ) -> None:
        self.needed_bytes = needed_bytes
        self.free_bytes = free_bytes
        self.device = device
        what = "one text alone" if while_running else "it"
        need = (
            f"{what} does not fit into the memory of {device}"
            if needed_bytes is None
            else f"{what} needs {needed_bytes / 2**20:,.0f} MiB on {device}"
        )
        free = "" if free_bytes is None else f", where {free_bytes / 2**20:,.0f} MiB are free"
        advice = advice or (
            "Give shorter texts, unload other models, or use a smaller model."
            if while_running
            else "Choose a smaller model, quantization='8bit' or '4bit', or device_map='auto'."
        )
        super().__init__(model, f"{need}{free}. {advice}")
        if while_running:
            self.args = (f"{model!r} ran out of memory: {need}{free}. {advice}",)


class ModelRunError(XLMError, RuntimeError):
    """A loaded model failed while it computed; the cause is chained.

    Attributes:
        model: Hub id or folder as the caller gave it.
    """

    def __init__(self, model: str, reason: str) -> None:
        self.model = model
        super().__init__(f"{model!r} failed: {reason}")


class RequestTimeoutError(XLMError, TimeoutError):
    """A request that was not answered in time; its waiting work has been dropped.

    Attributes:
        timeout_s: The limit that ran out, in seconds.
        model: The model that was asked.
    """

    def __init__(self, timeout_s: float, *, model: str) -> None:
        self.timeout_s = timeout_s
        self.model = model
        super().__init__(
            f"No answer from {model!r} within {timeout_s:g} s. Its work has been dropped;"
            " give a longer timeout_s or a shorter text."
        )


class ModelUnloadedError(XLMError, RuntimeError):
    """The model was unloaded before it could answer this request.

    Attributes:
        model: The model that was asked.
    """

    def __init__(self, model: str) -> None:
        self.model = model
        super().__init__(f"{model!r} was unloaded before it answered; call again to load it anew.")


class InputError(XLMError, ValueError):
    """A text or parameter that cannot be processed, with the value and the next step."""


class InputTooLongError(InputError):
    """A text beyond the model's window where the caller asked for an error.

    Attributes:
        tokens: Length of the text, in the model's tokens, special tokens included.
        limit: The model's window, in tokens.
        index: Position of the text among those given.
    """

    def __init__(self, *, tokens: int, limit: int, index: int) -> None:
        self.tokens = tokens
        self.limit = limit
        self.index = index
        super().__init__(
            f"Text {index} has {tokens} tokens, more than the window of {limit}."
            " Shorten it, or let overflow='pool' average its pieces."
        )


class DataFormatError(XLMError, ValueError):
    """A file of examples that does not hold what it must.

    Attributes:
        path: The file as the caller named it.
        line: Its line, or its row where it has no lines, from 1; None for the file as a whole.
    """

    def __init__(self, path: str, reason: str, *, line: int | None = None) -> None:
        self.path = path
        self.line = line
        super().__init__(f"{path if line is None else f'{path}:{line}'}: {reason}")
