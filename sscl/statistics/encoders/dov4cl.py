"""DOV4CL (Xie et al. 2025): are views of released images nearer to each other than those of images never seen?

The t-test takes redraws from two fixed encoders as independent. They are not: more redraws give any p-value.
"""

from __future__ import annotations

import numpy as np
from scipy import stats

from sscl.statistics.encoders.base import ENCODER_TESTS, EncoderAnswers, EncoderTest, unit

REDRAWS = 30  # of subsets of the images, in each of which the gap is taken
SHARE = 0.5  # of the images that are in a subset


def dov4cl(answers: EncoderAnswers, rng: np.random.Generator) -> float:
    """One-sided Welch test of the suspect's gaps against the clean encoder's."""
    suspect = gaps(relations(answers.released), relations(answers.unseen), rng)
    own = gaps(relations(answers.own_released), relations(answers.own_unseen), rng)
    return float(stats.ttest_ind(suspect, own, equal_var=False, alternative="greater").pvalue)


def relations(views: np.ndarray) -> np.ndarray:
    """float64 (N,): how near an image's views (N, V, D) are to each other, less how near they are to other images'.

    The paper's unary relation, within an image, and binary relation, between two, taken together.
    """
    count, number = views.shape[:2]
    units = unit(views)
    own = units.sum(axis=1)  # (N, D)
    within = ((own * own).sum(axis=1) - (units * units).sum(axis=(1, 2))) / (number * (number - 1))
    between = own @ (own.sum(axis=0)) - (own * own).sum(axis=1)
    found: np.ndarray = within - between / (number * number * (count - 1))
    return found


def gaps(released: np.ndarray, unseen: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """float64 (REDRAWS,): mean relation of released images less that of unseen ones, in random subsets."""

    def part(rows: np.ndarray) -> float:
        return float(rows[rng.permutation(len(rows))[: max(2, round(SHARE * len(rows)))]].mean())

    return np.array([part(released) - part(unseen) for _ in range(REDRAWS)])


ENCODER_TESTS.register("dov4cl")(EncoderTest(dov4cl))
