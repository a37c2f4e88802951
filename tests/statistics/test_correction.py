"""Holm's correction against the example by hand."""

from __future__ import annotations

import pytest

from sscl.statistics.correction import holm


def test_holm_by_hand() -> None:
    """Holm 1979: 3 x .01, then 2 x .02 = .04, then max(.04, .03)."""
    adjusted = holm({"a": 0.03, "b": 0.01, "c": 0.02})
    assert adjusted == pytest.approx({"b": 0.03, "c": 0.04, "a": 0.04})
    assert holm({"a": 0.7, "b": 0.9}) == {"a": 1.0, "b": 1.0}
