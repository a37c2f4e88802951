"""Entropy: do labels of marked images concentrate? The statistic of SSL-WM (Lv et al. 2024).

A suspect that sends some of the marked images to one class has a low entropy, and whatever is conspicuous does that:
in simulations the test accuses 54 to 100 % of innocents whose answers lean by 10 to 20 %.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from sscl.statistics.encoders.base import ENCODER_TESTS, EncoderAnswers, EncoderTest, rank_among_subsets


def entropy(answers: EncoderAnswers, rng: np.random.Generator) -> float:
    """Rank of the marked labels' entropy among that of clean subsets; features count as labels by their largest."""
    return rank_among_subsets(answers, lambda rows: -label_entropy(rows), rng)


def label_entropy(rows: np.ndarray) -> float:
    """Entropy, in nats, of how often each column is a row's largest.

    >>> round(label_entropy(np.eye(2)), 3)
    0.693
    """
    return float(stats.entropy(np.bincount(rows.argmax(axis=1), minlength=rows.shape[1])))


ENCODER_TESTS.register("entropy")(EncoderTest(entropy, ("labels",)))
