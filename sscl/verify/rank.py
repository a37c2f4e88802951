"""Exact p-values from ranks: the released key among decoy keys, or a suspect among clean reference models.

If the observed statistic and the ``n`` others are exchangeable under the null hypothesis, then

    p = (1 + #{others >= observed}) / (1 + n)

is valid in finite samples: ``P(p <= a) <= a`` for every ``a``, whatever their distribution; ties count against the
owner (Dwass 1957; Phipson and Smyth 2010; Vovk et al. 2005 for the conformal reading).
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def rank_p_value(observed: float, others: Sequence[float] | np.ndarray) -> float:
    """Share of ranks at or above ``observed``'s; in ``[1 / (1 + n), 1]``, never 0.

    Raises:
        ValueError: a statistic is not finite.
    """
    values = np.asarray(others, dtype=np.float64)
    if not (math.isfinite(observed) and np.isfinite(values).all()):
        raise ValueError("statistics must be finite")
    return (1 + int((values >= observed).sum())) / (1 + len(values))


def floor(count: int) -> float:
    """The smallest p-value that ``count`` others allow."""
    return 1 / (1 + count)


def needed(alpha: float) -> int:
    """How many others it takes for a p-value of at most ``alpha``."""
    return math.ceil(1 / alpha - 1e-9) - 1


def holm(p_values: dict[str, float]) -> dict[str, float]:
    """Adjusted p-values that hold the family-wise error rate whatever the dependence (Holm 1979)."""
    adjusted: dict[str, float] = {}
    running = 0.0
    for rank, (name, p) in enumerate(sorted(p_values.items(), key=lambda item: item[1])):
        running = max(running, min(1.0, (len(p_values) - rank) * p))
        adjusted[name] = running
    return adjusted
