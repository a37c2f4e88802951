"""Density: do answers to marked images crowd? After Repurposing and Evaluating the (In)Feasibility of Dataset
Poisoning enabled Watermarking for Contrastive Learning (2026), of which the abstract alone is public.

Images under any mark crowd, whoever's mark it is and whether it was released or not: the test shows that a mark is
conspicuous, and not that the suspect has learnt it.
"""

from __future__ import annotations

import numpy as np

from sscl.statistics.encoders.base import ENCODER_TESTS, EncoderAnswers, EncoderTest, rank_among_subsets, unit


def density(answers: EncoderAnswers, rng: np.random.Generator) -> float:
    """Rank of the marked answers' density among that of clean subsets."""
    centre = answers.clean.mean(axis=0)
    return rank_among_subsets(answers, lambda rows: mean_cosine(rows - centre), rng)


def mean_cosine(rows: np.ndarray) -> float:
    """Mean cosine of all pairs of different rows, from the length of their sum.

    >>> mean_cosine(np.array([[1.0, 0.0], [2.0, 0.0], [0.0, 3.0]]))  # one pair of three is parallel
    0.3333333333333333
    """
    count, units = len(rows), unit(rows)
    total = units.sum(axis=0)
    return float((total @ total - (units * units).sum()) / (count * (count - 1)))


ENCODER_TESTS.register("density")(EncoderTest(density, ("features", "labels")))
