"""From answers to one number a key: how much more often the mark turns answers to that key's target class."""

from __future__ import annotations

import numpy as np

from sscl.types import Responses


def effect(benign: Responses, marked: Responses, target_class: int) -> tuple[float, float, float]:
    """Mean over the images that were answered both ways.

    With probabilities or top-k scores it is ``delta_P``, the mean of ``p(y_t | x_w) - p(y_t | x)`` (a class that is not
    listed counts 0); with labels the same of ``[answer == y_t]``. Class indices are only ever compared for equality.

    Returns:
        The statistic in [-1, 1], the WSR in [0, 1], and the share of pairs that were answered. Without any answer the
        first two are 0: that counts against the owner.
    """
    both = benign.valid & marked.valid
    answered = float(both.mean()) if len(both) else 0.0
    if not both.any():
        return 0.0, 0.0, answered
    before, after = (r.probabilities[both, target_class] for r in (benign, marked))
    hits = marked.predictions[both] == target_class
    return float(np.mean(after - before)), float(hits.mean()), answered
