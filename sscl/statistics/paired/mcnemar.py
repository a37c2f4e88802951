"""McNemar's exact test on labels: did the mark turn more answers to the target class than away from it?"""

from __future__ import annotations

from scipy import stats

from sscl.statistics.paired.base import TESTS, TargetAnswers, VerificationTest


@TESTS.register("mcnemar")
class McNemar(VerificationTest):
    """``H0``: among images whose answer the mark changes to or from ``y_t``, both ways are equally likely.

    Exact and one-sided, on ``prediction == y_t`` alone (McNemar 1947; the binomial form is Mosteller 1952), so one
    label an image is enough. ``tau`` is not used.
    """

    name = "mcnemar"

    def statistic(self, benign: TargetAnswers, marked: TargetAnswers) -> tuple[float, float]:
        gained = int((marked.hits & ~benign.hits).sum())
        lost = int((benign.hits & ~marked.hits).sum())
        if gained + lost == 0:
            return 0.0, 1.0
        return float(gained - lost), float(stats.binomtest(gained, gained + lost, 0.5, "greater").pvalue)
