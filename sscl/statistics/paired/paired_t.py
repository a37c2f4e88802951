"""The published test: a one-sided paired t-test with a margin.

It asks whether the mean over *images* of one model exceeds tau. It says nothing about how often innocent *models* do:
measured, a clean model that never saw the marked data can be far above tau. See docs/benchmark.md.
"""

from __future__ import annotations

import math

import numpy as np
from scipy import stats

from sscl.statistics.paired.base import TESTS, TargetAnswers, VerificationTest

ROUNDING = 1e-9  # differences of probabilities that are nearer than this are the same


@TESTS.register("paired_t")
class PairedT(VerificationTest):
    """``H0: mean(P_w) <= mean(P_b) + tau`` for the target class's probability (SSCL-BW; Li et al. 2022, eq. 4)."""

    name = "paired_t"

    def statistic(self, benign: TargetAnswers, marked: TargetAnswers) -> tuple[float, float]:
        difference = marked.scores - benign.scores
        if np.ptp(difference) < ROUNDING:  # no variance: the t statistic is infinite, and scipy would warn
            exceeds = bool(difference.mean() > self.tau)
            return (math.inf, 0.0) if exceeds else (-math.inf, 1.0)
        result = stats.ttest_1samp(difference, self.tau, alternative="greater")
        return float(result.statistic), float(result.pvalue)
