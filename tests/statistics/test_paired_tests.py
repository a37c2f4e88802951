"""What every paired test promises, and the label-only ones against scipy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sscl.statistics.paired import TESTS
from sscl.types import Responses


def labels(values: list[int]) -> Responses:
    return Responses.of_labels(np.array(values), 3)


@pytest.mark.parametrize("name", list(TESTS))
def test_the_level_holds_when_the_mark_does_nothing(name: str) -> None:
    rng = np.random.default_rng(0)
    rejected = 0
    for _ in range(1000):
        benign, marked = (labels(rng.integers(0, 3, 40).tolist()) for _ in range(2))
        tau = 0.34 if name == "binomial" else 0.0
        rejected += TESTS[name](tau, 0.05).run(benign, marked, 1).rejected
    assert rejected <= stats.binom.ppf(0.9999, 1000, 0.05)


@pytest.mark.parametrize("name", list(TESTS))
def test_p_is_never_impossible_and_class_names_do_not_matter(name: str) -> None:
    rng = np.random.default_rng(1)
    benign, marked = rng.integers(0, 3, 30), rng.integers(0, 3, 30)
    swapped = np.array([2, 1, 0])  # the target keeps its index, the others change places
    one = TESTS[name](0.1, 0.05).run(labels(benign.tolist()), labels(marked.tolist()), 1)
    two = TESTS[name](0.1, 0.05).run(labels(swapped[benign].tolist()), labels(swapped[marked].tolist()), 1)
    assert 0 < one.p_value <= 1
    assert one == two


@pytest.mark.parametrize("name", list(TESTS))
@pytest.mark.parametrize("tau", [-0.1, 0.0])
def test_p_is_never_zero_however_clear(name: str, tau: float) -> None:
    """Two thousand images, all turned: the exact p underflows."""
    assert TESTS[name](tau, 0.05).run(labels([0] * 2000), labels([1] * 2000), 1).p_value > 0


def test_mcnemar_against_the_sign_test() -> None:
    benign, marked = labels([0] * 9 + [1, 2, 1]), labels([1] * 8 + [0] + [0, 2, 1])
    verdict = TESTS["mcnemar"](0.25, 0.05).run(benign, marked, 1)
    assert verdict.p_value == pytest.approx(stats.binom.sf(7, 9, 0.5))
    assert verdict.statistic == 7


def test_binomial_against_its_tail() -> None:
    benign, marked = labels([0] * 9 + [1]), labels([1] * 6 + [0] * 3 + [1])
    assert TESTS["binomial"](0.25, 0.05).run(benign, marked, 1).p_value == pytest.approx(stats.binom.sf(5, 9, 0.25))


def test_images_without_an_answer_are_left_out() -> None:
    benign, marked = labels([0, 0, -1, 0]), labels([1, 1, 1, -1])
    assert TESTS["mcnemar"](0.25, 0.05).run(benign, marked, 1).images == 2
    with pytest.raises(ValueError, match="at least two"):
        TESTS["mcnemar"](0.25, 0.05).run(labels([0, -1]), labels([1, 1]), 1)
