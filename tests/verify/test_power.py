from __future__ import annotations

import numpy as np
import pytest

from sscl.errors import ConfigError
from sscl.verify.power import Effect, plan, simulate


def test_a_clear_effect_needs_few_queries_and_a_third_of_them_sequentially() -> None:
    found = plan(Effect(0.9, 0.05, 0.05), 0.05, 0.95, 199, np.random.default_rng(0))
    assert found is not None
    assert found.images <= 10
    assert min(found.power_fixed, found.power_sequential) >= 0.95
    assert found.queries_sequential <= found.queries_fixed / 3


def test_no_effect_has_the_level_as_its_power() -> None:
    found = simulate(Effect(0.2, 0.2, 0.0), 50, 0.05, 99, np.random.default_rng(1))
    assert found.power_fixed <= 0.08
    assert found.power_sequential <= 0.08


def test_small_effects_may_be_out_of_reach() -> None:
    assert plan(Effect(0.11, 0.1, 0.1), 0.05, 0.95, 39, np.random.default_rng(2)) is None


def test_impossible_plans_are_errors() -> None:
    with pytest.raises(ConfigError, match="at least 19 for alpha"):
        plan(Effect(0.9, 0.05, 0.05), 0.05, 0.95, 10, np.random.default_rng(0))
    with pytest.raises(ConfigError, match="spread"):
        Effect(0.5, 0.1, 0.9)
