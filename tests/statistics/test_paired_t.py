from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import stats

from sscl.statistics.paired import TESTS
from sscl.statistics.paired.base import TargetAnswers
from sscl.statistics.paired.paired_t import PairedT
from sscl.types import Responses


def responses(p: np.ndarray) -> Responses:
    return Responses(np.stack([p, 1 - p], axis=1).astype(np.float64))


def test_by_hand() -> None:
    """d = .45, .65, .55 and tau = .25: mean excess .3, s = .1, t = .3 / (.1 / sqrt 3) = 5.1962, df 2."""
    verdict = PairedT(0.25, 0.05).run(responses(np.zeros(3)), responses(np.array([0.45, 0.65, 0.55])), 0)
    t = 0.3 / (0.1 / math.sqrt(3))
    assert verdict.statistic == pytest.approx(t)
    # Student's t with two degrees of freedom has a closed form: P(T > t) = 1/2 - t / (2 sqrt(t^2 + 2)).
    assert verdict.p_value == pytest.approx(0.5 - t / (2 * math.sqrt(t * t + 2)))
    assert verdict.delta_p == pytest.approx(0.55)
    assert verdict.wsr == pytest.approx(2 / 3)
    assert verdict.rejected


@settings(deadline=None)
@given(arrays("float64", (2, 20), elements=st.floats(0, 1)), st.floats(-0.5, 0.5))
def test_against_scipy(p: np.ndarray, tau: float) -> None:
    benign, marked = p
    if np.ptp(marked - benign) < 1e-6:
        return
    verdict = PairedT(tau, 0.05).run(responses(benign), responses(marked), 0)
    expected = stats.ttest_rel(marked, benign + tau, alternative="greater")
    assert verdict.p_value == pytest.approx(expected.pvalue, rel=1e-6, abs=1e-12)
    assert verdict.statistic == pytest.approx(expected.statistic, rel=1e-6, abs=1e-6)


@pytest.mark.parametrize("name", list(TESTS))
@pytest.mark.parametrize("shift", [-1.0, 0.0, 1.0])
def test_constant_models_get_a_verdict(name: str, shift: float) -> None:
    benign = responses(np.full(10, 0.0 if shift > 0 else 1.0 if shift < 0 else 0.5))
    marked = responses(np.full(10, 1.0 if shift > 0 else 0.0 if shift < 0 else 0.5))
    verdict = TESTS[name](0.25, 0.05).run(benign, marked, 0)
    assert verdict.rejected == (shift > 0)


def test_level_when_images_are_exchangeable() -> None:
    """Under its own null (images independent, mean exactly tau) the t-test holds its level."""
    rng = np.random.default_rng(0)
    test = PairedT(0.0, 0.05)

    def answers() -> TargetAnswers:
        scores = rng.uniform(size=200)
        return TargetAnswers(scores, scores > 0.5)

    rejected = [test.statistic(answers(), answers())[1] < 0.05 for _ in range(2000)]
    low, high = stats.binom.interval(0.999, 2000, 0.05)
    assert low <= sum(rejected) <= high


def test_responses_must_be_paired() -> None:
    with pytest.raises(ValueError, match="same images, at least two"):
        PairedT(0.25, 0.05).run(responses(np.zeros(3)), responses(np.zeros(4)), 0)
    with pytest.raises(ValueError, match="same images, at least two"):
        PairedT(0.25, 0.05).run(responses(np.zeros(1)), responses(np.zeros(1)), 0)
