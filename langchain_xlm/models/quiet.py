"""Silence while a model loads: no bars and no warnings that only its developers can use."""

from __future__ import annotations

import logging as stdlib_logging
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

__all__ = ["quiet_transformers"]

_one_at_a_time = threading.RLock()


@contextmanager
def quiet_transformers() -> Iterator[None]:
    """Turn off transformers' warnings and loading bars inside a `with` block.

    What was set before comes back at its end; these settings belong to the whole process, so one
    thread at a time is inside and others wait. Bars of downloads stay, since a download may take
    minutes.

    Yields:
        Nothing.
    """
    from transformers.utils import logging

    with _one_at_a_time:
        verbosity = logging.get_verbosity()
        hook = logging.set_tqdm_hook(_without_bar)
        logging.set_verbosity(stdlib_logging.ERROR)
        try:
            yield
        finally:
            logging.set_verbosity(verbosity)
            logging.set_tqdm_hook(hook)


def _without_bar(factory: Callable[..., Any], args: Any, options: dict[str, Any]) -> Any:
    return factory(*args, **{**options, "disable": True})
