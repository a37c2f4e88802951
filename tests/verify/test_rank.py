"""Exact level of the rank tests under simulated null hypotheses; references: closed forms and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats

from sscl.verify.rank import floor, holm, needed, rank_p_value
from sscl.verify.sequential import Wealth, decoys_to_reject


def test_by_hand() -> None:
    assert rank_p_value(0.5, [0.1, 0.6, 0.5, 0.2]) == pytest.approx(3 / 5)
    assert rank_p_value(1.0, np.zeros(199)) == floor(199) == 1 / 200
    assert needed(0.05) == 19
    assert needed(0.01) == 99


@given(st.floats(-1, 1), st.lists(st.floats(-1, 1), max_size=30))
def test_never_below_the_floor_and_never_zero(observed: float, others: list[float]) -> None:
    assert floor(len(others)) <= rank_p_value(observed, others) <= 1


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_statistics_must_be_finite(bad: float) -> None:
    with pytest.raises(ValueError, match="finite"):
        rank_p_value(bad, [0.0])
    with pytest.raises(ValueError, match="finite"):
        rank_p_value(0.0, [bad])
    with pytest.raises(ValueError, match="finite"):
        Wealth(0.05).add(bad, 0.0)


NULLS = {
    "continuous": lambda rng, n: rng.normal(size=n),
    "heavy tails": lambda rng, n: rng.standard_cauchy(size=n),
    "label counts": lambda rng, n: rng.binomial(20, 0.1, size=n) / 20,
    "a model that leans to one class": lambda rng, n: rng.binomial(20, rng.uniform(), size=n) / 20,
    "constant model": lambda rng, n: np.zeros(n),
}


@pytest.mark.parametrize("name", list(NULLS))
def test_the_level_is_exact(name: str) -> None:
    """P(p <= alpha) <= alpha for exchangeable keys, and equal to it without ties."""
    rng = np.random.default_rng(0)
    p = []
    for _ in range(4000):
        keys = NULLS[name](rng, 40)
        p.append(rank_p_value(keys[0], keys[1:]))
    for alpha in (0.025, 0.05, 0.1, 0.5):
        high = stats.binom.ppf(0.9999, 4000, alpha)
        assert sum(value <= alpha + 1e-12 for value in p) <= high
    if name in ("continuous", "heavy tails"):
        # Ranks are uniform on {1/40, ..., 1}: chi-square over the 40 values.
        counts = np.bincount(np.rint(np.array(p) * 40).astype(int), minlength=41)[1:]
        assert stats.chisquare(counts).pvalue > 1e-4


@pytest.mark.parametrize("name", list(NULLS))
def test_the_sequential_level_holds_whenever_one_stops(name: str) -> None:
    """Ville: the wealth ever reaches 1/alpha with probability at most alpha."""
    rng = np.random.default_rng(1)
    rejected = 0
    for _ in range(3000):
        keys = NULLS[name](rng, 200)
        wealth = Wealth(0.1)
        for key in keys[1:]:
            wealth.add(keys[0], key)
            if wealth.rejects:
                break
        rejected += wealth.rejects
    assert rejected <= stats.binom.ppf(0.9999, 3000, 0.1)


def test_wealth_is_a_fair_bet() -> None:
    """Expectation over Polya's urn, exactly: E[W_t] = 1."""
    alpha, t = 0.2, 12
    total = 0.0
    for losses in range(t + 1):  # P(L = l) = 1 / (t + 1): ranks are uniform
        wealth = Wealth(alpha, decoys=t, losses=losses)
        total += wealth.value / (t + 1)
    assert total == pytest.approx(1.0)


def test_wealth_against_the_closed_form_without_losses() -> None:
    wealth = Wealth(0.05)
    for _ in range(30):
        wealth.add(1.0, 0.0)
    assert wealth.value == pytest.approx((1 - 0.975**31) / 0.025)
    assert wealth.rejects
    assert decoys_to_reject(0.05) == 27
    assert 0 < wealth.p_value <= 0.05


def test_hopeless_is_right() -> None:
    wealth = Wealth(0.05)
    for _ in range(15):
        wealth.add(0.0, 1.0)
    assert wealth.hopeless(199)
    assert not Wealth(0.05).hopeless(199)
    assert Wealth(0.05).hopeless(10)
    for _ in range(184):
        wealth.add(0.0, -1.0)
    assert not wealth.rejects


def test_holm_by_hand() -> None:
    """Holm 1979: 3 x .01, then 2 x .02 = .04, then max(.04, .03)."""
    adjusted = holm({"a": 0.03, "b": 0.01, "c": 0.02})
    assert adjusted == pytest.approx({"b": 0.03, "c": 0.04, "a": 0.04})
    assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0}
