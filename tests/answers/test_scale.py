"""What a model's output is taken for, and that it is decided once."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.special import softmax

from sscl.answers.scale import as_probabilities, scale_of

LOGITS = np.random.default_rng(0).normal(size=(40, 10)) * 3


def test_logits_probabilities_and_percent_are_told_apart() -> None:
    p = softmax(LOGITS, axis=1)
    assert [scale_of(rows) for rows in (LOGITS, p, 100 * p)] == ["logits", "probabilities", "percent"]
    for rows in (LOGITS, p, 100 * p):
        np.testing.assert_allclose(as_probabilities(rows, scale_of(rows)), p, atol=1e-12)


@given(st.integers(0, 10_000), st.sampled_from([2, 10, 100]), st.sampled_from([64, 256]))
def test_eight_bit_probabilities_are_probabilities(seed: int, classes: int, levels: int) -> None:
    """The defect: rounded, they add up to 0.998, and got a second softmax."""
    p = softmax(np.random.default_rng(seed).normal(size=(50, classes)) * 4, axis=1)
    rounded = np.clip(np.round(p * levels), 0, levels - 1) / levels
    if np.abs(rounded.sum(axis=1) - 1).max() > 0.05:
        return
    assert scale_of(rounded) == "probabilities"
    found = as_probabilities(rounded, "probabilities")
    np.testing.assert_allclose(found.sum(axis=1), 1)
    assert np.abs(found - p).max() < 0.06


def test_a_suspect_that_changes_its_scale_is_an_error() -> None:
    with pytest.raises(ValueError, match="first answers were probabilities, these are not; set scale"):
        as_probabilities(LOGITS, "probabilities")
    with pytest.raises(ValueError, match="finite"):
        as_probabilities(np.array([[np.inf, 0.0]]), "logits")
