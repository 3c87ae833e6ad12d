"""The pull request in which the hub's own converter offers weights as safetensors."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from huggingface_hub import Discussion

__all__ = ["choose_request", "find_request"]

_log = logging.getLogger("langchain_xlm")
_CONVERTER = "SFconvertbot"
# Open ones first; the files of a closed one are still there.
_STATES = ("open", "draft", "merged", "closed")


def find_request(model: str, names: Iterable[str], token: str | None) -> Discussion | None:
    """Ask the hub for the converter's pull request to a checkpoint without safetensors.

    Nothing is downloaded, and a hub that does not answer is no error: this is for an advice.

    Args:
        model: Hub id.
        names: Files of which the request must hold one.
        token: Access token of the hub.

    Returns:
        The request; None where there is none, or the hub did not tell.
    """
    from huggingface_hub import HfApi, errors

    # Of httpx or httpx2, whichever this version of huggingface_hub stands on.
    http_error: type[Exception] = errors.HTTPError  # type: ignore[attr-defined]
    hub = HfApi(token=token)
    try:
        request = choose_request(
            hub.get_repo_discussions(model, author=_CONVERTER, discussion_type="pull_request")
        )
        if request is None or request.git_reference is None:
            return None
        revision = request.git_reference
        there = any(hub.file_exists(model, name, revision=revision) for name in names)
    except (http_error, OSError, ValueError, LookupError, TypeError, AttributeError) as error:
        # The last four are an answer of another form than huggingface_hub expects.
        _log.debug("The pull requests of %s could not be listed: %r", model, error)
        return None
    return request if there else None


def choose_request(discussions: Iterable[Discussion]) -> Discussion | None:
    """Choose the converter's request, open before closed and new before old.

    Args:
        discussions: What the hub lists of a model.

    Returns:
        The request, or None.
    """
    offers = [
        each
        for each in discussions
        if each.is_pull_request and each.author == _CONVERTER and each.status in _STATES
    ]
    return min(offers, key=lambda each: (_STATES.index(each.status), -each.num), default=None)
