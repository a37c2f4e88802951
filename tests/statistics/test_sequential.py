from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from sscl.statistics import words
from sscl.statistics.sequential import BETAS, Wealth
from tests.statistics.test_exact import NULLS, SHAPES, noise


def run(effects: np.ndarray, word: np.ndarray, alpha: float) -> Wealth:
    wealth = Wealth(alpha, *effects.shape)
    for row, group in zip(effects, word.tolist(), strict=True):
        wealth.add(row, group)
        if wealth.finished:
            break
    return wealth


@pytest.mark.parametrize(("marks", "groups"), [(3, 3), (2, 4), (4, 2), (5, 3)])
def test_the_wealth_has_mean_one_over_all_words(marks: int, groups: int) -> None:
    """Exactly, after every mark: this is what makes it a martingale."""
    rng = np.random.default_rng(0)
    effects = 2 * noise(rng, marks, groups)
    every = np.unique(words.draw(marks, groups, rng, 20_000), axis=0)
    for asked in range(1, marks + 1):
        found = []
        for word in every:
            wealth = Wealth(1e-300, marks, groups)
            for row, group in zip(effects[:asked], word.tolist(), strict=False):
                wealth.add(row, group)
            found.append(np.exp(wealth.log_wealth))
        assert np.mean(found) == pytest.approx(1)


@pytest.mark.parametrize("null", NULLS, ids=lambda f: f.__name__)
@pytest.mark.parametrize(("marks", "groups"), SHAPES)
def test_the_level_holds_whenever_it_stops(
    null: Callable[[np.random.Generator, int, int], np.ndarray], marks: int, groups: int
) -> None:
    rng = np.random.default_rng(5)
    alpha, runs = 0.05, 300
    effects = [null(rng, marks, groups) for _ in range(runs)]
    accused = sum(
        run(matrix, word, alpha).rejects
        for matrix, word in zip(effects, words.draw(marks, groups, rng, runs), strict=True)
    )
    assert stats.binomtest(accused, runs, alpha, "greater").pvalue > 1e-4


def test_one_bet_is_the_closed_form() -> None:
    wealth, row = Wealth(0.001, 2, 3), np.array([0.3, -0.2, 1.0])
    wealth.add(row, 2)
    expected = np.mean([3 * np.exp(b * row[2]) / np.exp(b * row).sum() for b in BETAS])
    assert np.exp(wealth.log_wealth) == pytest.approx(expected)


def test_a_clear_case_is_decided_after_four_of_ten_marks() -> None:
    word = np.arange(10)[::-1].copy()
    effects = np.zeros((10, 10))
    effects[np.arange(10), word] = 3
    wealth = run(effects, word, 0.001)
    assert wealth.rejects
    assert wealth.asked <= 4
    assert wealth.p_value >= 1 / words.count(10, 10)


def test_evidence_that_was_enough_is_not_lost_again() -> None:
    wealth = Wealth(0.5, 3, 3)
    wealth.add(np.array([9.0, 0, 0]), 0)
    assert wealth.rejects
    wealth.add(np.array([0, 0, 9.0]), 1)
    assert wealth.rejects
    assert wealth.p_value < np.exp(-wealth.log_wealth)


def test_what_cannot_be_bet_on() -> None:
    wealth = Wealth(0.05, 2, 3)
    with pytest.raises(ValueError, match="3 finite numbers"):
        wealth.add(np.array([np.nan, 0, 0]), 0)
    wealth.add(np.zeros(3), 1)
    with pytest.raises(ValueError, match="no word gives group 1 to mark 1"):
        wealth.add(np.zeros(3), 1)
    wealth.add(np.zeros(3), 0)
    with pytest.raises(ValueError, match="the word has 2 marks"):
        wealth.add(np.zeros(3), 2)


def test_no_answer_makes_a_wealth_that_is_not_a_number() -> None:
    for row in itertools.product((-1e6, 0.0, 1e6), repeat=3):
        wealth = Wealth(0.05, 1, 3)
        wealth.add(np.array(row), 0)
        assert np.isfinite(wealth.log_wealth)
        assert 0 <= wealth.p_value <= 1


def test_no_change_that_is_doubted_makes_a_bet_win_more() -> None:
    rng = np.random.default_rng(3)
    for _ in range(50):
        effects, doubt, group = rng.normal(size=8), 0.2 * rng.random(8), int(rng.integers(8))
        honest = Wealth(0.001, 5, 8)
        honest.add(effects, group)
        toward = np.where(np.arange(8) == group, 1.0, -1.0)
        for change in (toward, rng.uniform(-1, 1, 8)):
            told = Wealth(0.001, 5, 8)
            told.add(effects + change * doubt, group, doubt)
            assert told.log_wealth <= honest.log_wealth + 1e-12
