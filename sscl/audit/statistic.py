"""From answers to numbers a key: how much its mark turns answers to the target class."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from scipy.special import logit

from sscl.types import Responses

# Odds are taken of probabilities within this of 0 and 1: what an API that rounds to two decimals can tell.
LEAST = 0.005


class Effect(NamedTuple):
    """One key's effect on a model, over the images that were answered both with and without its mark.

    Attributes:
        statistic: mean change of ``p + log(p / (1 - p))``, ``p`` of ``y_t``: what keys are ranked by. The log-odds tell
            keys apart when the model is sure of them all, the probability when it is sure that none is ``y_t``.
        delta_p: mean of ``p(y_t | x_w) - p(y_t | x)``, in [-1, 1].
        wsr: share of marked images answered ``y_t``.
        answered: share of images that were answered both ways; without any, the others are 0, which counts against the
            owner.
    """

    statistic: float
    delta_p: float
    wsr: float
    answered: float


def effect(benign: Responses, marked: Responses, target_class: int) -> Effect:
    """A key's effect. A class that a top-k answer does not list counts 0, a label 1 for its class and 0 for the rest.

    Class indices are only ever compared for equality.
    """
    both = benign.valid & marked.valid
    answered = float(both.mean()) if len(both) else 0.0
    if not both.any():
        return Effect(0.0, 0.0, 0.0, answered)
    before, after = (r.probabilities[both, target_class] for r in (benign, marked))
    scores = (p + logit(np.clip(p, LEAST, 1 - LEAST)) for p in (after, before))
    hits = marked.predictions[both] == target_class
    return Effect(float(np.mean(np.subtract(*scores))), float(np.mean(after - before)), float(hits.mean()), answered)
