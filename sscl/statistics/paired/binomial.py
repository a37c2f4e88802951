"""Exact binomial test on labels: does the mark turn more than a share tau of the answers to the target class?"""

from __future__ import annotations

from scipy import stats

from sscl.statistics.paired.base import TESTS, TargetAnswers, VerificationTest


@TESTS.register("binomial")
class Binomial(VerificationTest):
    """``H0``: of images not answered ``y_t`` without the mark, at most a share ``tau`` is with it (Clopper-Pearson).

    One label an image is enough.
    """

    name = "binomial"

    def statistic(self, benign: TargetAnswers, marked: TargetAnswers) -> tuple[float, float]:
        others = ~benign.hits
        count, gained = int(others.sum()), int((marked.hits & others).sum())
        if count == 0:
            return 0.0, 1.0
        return gained / count, float(stats.binomtest(gained, count, min(max(self.tau, 0.0), 1.0), "greater").pvalue)
