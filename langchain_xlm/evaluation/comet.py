"""COMET, a learned judge of translations, where its package is installed."""

from __future__ import annotations

import importlib
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from langchain_xlm.errors import MissingDependencyError

if TYPE_CHECKING:
    from numpy.typing import NDArray

__all__ = ["check_comet", "comet_scores"]


def check_comet() -> None:
    """Refuse before any translation is made where the package is missing.

    Raises:
        MissingDependencyError: It is not installed.
    """
    from importlib.util import find_spec

    if find_spec("comet") is None:
        raise MissingDependencyError("unbabel-comet", needed_for="COMET")


def comet_scores(
    sources: Sequence[str], outputs: Sequence[str], references: Sequence[str], *, model: str
) -> NDArray[np.float64]:
    """Judge translations with a COMET checkpoint, which is downloaded where it is missing.

    Args:
        sources: What was translated.
        outputs: The translations.
        references: One reference each.
        model: Such as "Unbabel/wmt22-comet-da".

    Returns:
        A score for each, about 0 to 1, `(sentences,)`.

    Source:
        Rei et al. 2022, https://aclanthology.org/2022.wmt-1.52/
    """
    import torch

    check_comet()
    comet = importlib.import_module("comet")
    judge = comet.load_from_checkpoint(comet.download_model(model))
    rows = [
        {"src": source, "mt": output, "ref": reference}
        for source, output, reference in zip(sources, outputs, references, strict=True)
    ]
    found = judge.predict(
        rows, batch_size=16, gpus=int(torch.cuda.is_available()), progress_bar=False
    )
    return np.array(found.scores, dtype=np.float64)
