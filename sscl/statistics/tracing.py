"""Whose copy: all have the same marks, each under a word of its own, so one set of answers is held against them all."""

from __future__ import annotations

import numpy as np

from sscl.statistics import words
from sscl.statistics.correction import holm
from sscl.statistics.exact import Null


def trace(null: Null, recipients: dict[str, np.ndarray]) -> dict[str, float]:
    """Corrected p-values by recipient (Holm 1979).

    A suspect that did not see a recipient's copy cannot know that word, whatever other copies it saw. So the chance of
    naming anybody wrongly is at most the level at which the corrected values are read. On a model of ``r`` merged
    copies about ``r^K`` mixtures of their words fit as well as they do, so naming them among many takes more marks.

    Args:
        null: of the suspect's answers.
        recipients: name to word, int (K,).

    >>> null = Null.of(np.eye(5), np.random.default_rng(0))
    >>> found = trace(null, {"ada": np.arange(5), "bob": np.arange(5)[::-1]})
    >>> round(found["ada"], 4), found["bob"] > 0.05  # 2 / 120 after Holm's correction
    (0.0167, True)
    """
    return holm({name: null.p_value(word) for name, word in recipients.items()})


def marks_needed(groups: int, recipients: int, level: float) -> int:
    """The fewest marks with which one of so many recipients can be named at a corrected ``level``."""
    return words.marks_needed(groups, level / recipients)
