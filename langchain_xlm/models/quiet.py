"""Silence while a model loads: no bars and no warnings that only its developers can use."""

from __future__ import annotations

import logging as stdlib_logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any

__all__ = ["quiet_transformers"]


@dataclass(slots=True)
class _Silence:
    """How many loads are under way, and what to bring back after the last."""

    lock: threading.Lock = field(default_factory=threading.Lock)
    depth: int = 0
    verbosity: int = 0
    hook: Any = None


_silence = _Silence()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Turn off transformers' warnings and loading bars inside a `with` block.

    What was set before comes back when the last block ends, also where several threads load at
    once. Bars of downloads stay, since a download may take minutes.

    Yields:
        Nothing.
    """
    from transformers.utils import logging

    with _silence.lock:
        if _silence.depth == 0:
            _silence.verbosity = logging.get_verbosity()
            _silence.hook = logging.set_tqdm_hook(_without_bar)
            logging.set_verbosity(stdlib_logging.ERROR)
        _silence.depth += 1
    try:
        yield
    finally:
        with _silence.lock:
            _silence.depth -= 1
            if _silence.depth == 0:
                logging.set_verbosity(_silence.verbosity)
                logging.set_tqdm_hook(_silence.hook)


def _without_bar(factory: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    return factory(*args, **{**options, "disable": True})
