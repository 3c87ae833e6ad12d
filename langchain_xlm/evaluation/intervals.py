"""How far a figure can be trusted: bootstrap intervals and paired significance.

The examples are drawn anew with replacement, every system's figures on the same draws, and the
spread of the figures over the draws stands for that over other examples of the kind.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
from numpy.typing import NDArray

__all__ = ["Indices", "Resampling", "Statistic", "paired_p_value"]

Indices = NDArray[np.intp]
Statistic = Callable[[Indices], float]
"""A figure as a function of the examples (places, with repetitions) that it is taken over."""

RESAMPLES: Final = 1000
CONFIDENCE: Final = 0.95


@dataclass(frozen=True)
class Resampling:
    """Draws of examples, the same for the same size and seed.

    Attributes:
        size: How many examples there are.
        resamples: How many draws.
        seed: Seed of the draws.
    """

    size: int
    resamples: int = RESAMPLES
    seed: int = 0

    def spread(self, statistic: Statistic) -> NDArray[np.float64]:
        """Take a figure over every draw.

        Args:
            statistic: The figure.

        Returns:
            `(resamples,)`, float64.
        """
        generator = np.random.default_rng(self.seed)
        return np.array(
            [statistic(generator.integers(0, self.size, self.size)) for _ in range(self.resamples)]
        )


def interval(spread: NDArray[np.float64]) -> tuple[float, float]:
    """Return the percentile interval of a figure's spread.

    Args:
        spread: `(resamples,)`; draws on which the figure is undefined are NaN and left out.

    Returns:
        Lower and upper end of the 95% interval.

    Source:
        Efron and Tibshirani 1993, section 13.3.
    """
    known = spread[np.isfinite(spread)]
    if not len(known):
        return float("nan"), float("nan")
    tail = (1 - CONFIDENCE) / 2
    low, high = np.quantile(known, [tail, 1 - tail])
    return float(low), float(high)


def paired_p_value(
    difference: float, one: NDArray[np.float64], other: NDArray[np.float64]
) -> float:
    """Tell how likely a difference this great is if the two systems are equally good.

    Args:
        difference: Figure of one system less that of the other, over all examples.
        one: The figure of the one over draws of examples, `(resamples,)`.
        other: That of the other over the same draws.

    Returns:
        From just above 0 to 1; two-sided.

    Source:
        Riezler and Maxwell 2005, figure 2, https://aclanthology.org/W05-0908/, with the
        correction of one, as in sacrebleu; a draw as great as the difference counts against it,
        so that a system is not found to differ from itself.
    """
    differences = one - other
    differences = differences[np.isfinite(differences)]
    if not len(differences):
        return float("nan")
    # Centred, the draws show what chance alone would do.
    by_chance = np.abs(differences - differences.mean())
    return float((np.sum(by_chance >= abs(difference)) + 1) / (len(differences) + 1))
