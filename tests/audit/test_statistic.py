"""What keys are ranked by."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sscl.audit.statistic import LEAST, effect
from sscl.types import Responses


def responses(rows: np.ndarray, valid: np.ndarray | None = None) -> Responses:
    return Responses(rows, "probabilities", valid)


def two(p: np.ndarray) -> np.ndarray:
    return np.stack((1 - p, p), axis=1)


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.floats(0.01, 0.99), st.floats(0.01, 0.99)), min_size=1, max_size=20))
def test_it_is_the_mean_change_of_log_odds_and_probability(pairs: list[tuple[float, float]]) -> None:
    before, after = np.array(pairs).T
    found = effect(responses(two(before)), responses(two(after)), 1)
    expected = np.mean([b + math.log(b / (1 - b)) - a - math.log(a / (1 - a)) for a, b in pairs])
    assert found.statistic == pytest.approx(expected, abs=1e-9)
    assert found.delta_p == pytest.approx(np.mean(after - before))
    assert found.wsr == np.mean(after > 0.5)
    assert found.answered == 1


def test_certainty_is_finite() -> None:
    """What an API rounds to 0 and 1 is read as 0.005 and 0.995."""
    found = effect(responses(two(np.zeros(3))), responses(two(np.ones(3))), 1)
    assert found.statistic == pytest.approx(1 + 2 * math.log((1 - LEAST) / LEAST))


def test_models_that_are_sure_of_another_class_still_rank_keys() -> None:
    """Below 0.005 the log-odds are all the same; p-values of innocents would all be 1."""
    benign = responses(two(np.full(4, 1e-4)))
    weak, strong = (effect(benign, responses(two(np.full(4, p))), 1).statistic for p in (1e-3, 2e-3))
    assert 0 < weak < strong


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**30), st.integers(2, 30))
def test_on_labels_it_ranks_as_counts_do(seed: int, count: int) -> None:
    rng = np.random.default_rng(seed)
    benign = responses(two((rng.random(count) < 0.2).astype(float)))
    keys = [two((rng.random(count) < rng.random()).astype(float)) for _ in range(6)]
    statistics = [effect(benign, responses(key), 1).statistic for key in keys]
    counts = [key[:, 1].sum() for key in keys]
    for a, b in zip(statistics, counts, strict=True):
        for c, d in zip(statistics, counts, strict=True):
            assert (a > c + 1e-9) == (b > d)


def test_unanswered_images_do_not_count() -> None:
    valid = np.array([True, False])
    found = effect(responses(two(np.array([0.1, 0.9]))), responses(two(np.array([0.3, 0.0])), valid), 1)
    assert found.delta_p == pytest.approx(0.2)
    assert found.answered == 0.5
    nothing = effect(responses(two(np.zeros(2))), responses(two(np.ones(2)), np.zeros(2, dtype=bool)), 1)
    assert nothing == (0.0, 0.0, 0.0, 0.0)
