"""Repeated audits of one suspect share the level: occasion ``i`` has ``alpha * 6 / (pi i)^2``.

The shares of all occasions add up to ``alpha`` (Basel problem), so however often a suspect is audited under one
commitment, an innocent one is ever accused with probability at most ``alpha``.
"""

from __future__ import annotations

import math

from sscl.config import require


def level(alpha: float, occasion: int) -> float:
    """The level of one occasion, counted from 1, of a series without end; the first and only one has 61 % of alpha.

    Raises:
        ConfigError: an occasion below 1.
    """
    require(occasion >= 1, "occasion", occasion, "1 or more")
    return alpha * 6 / (math.pi * occasion) ** 2
