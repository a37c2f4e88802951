from __future__ import annotations

import torch
from hypothesis import given
from hypothesis import strategies as st

from sscl import seeds


@given(st.integers(0, 2**40), st.text(min_size=1), st.text(min_size=1))
def test_uses_are_distinct_and_repeatable(seed: int, first: str, second: str) -> None:
    assert seeds.derive(seed, first) == seeds.derive(seed, first)
    if first != second:
        assert seeds.derive(seed, first) != seeds.derive(seed, second)
    assert 0 <= seeds.derive(seed, first) < 2**63


def test_generators_give_independent_streams() -> None:
    a = torch.rand(1000, generator=seeds.generator(0, "a"))
    b = torch.rand(1000, generator=seeds.generator(0, "b"))
    assert abs(torch.corrcoef(torch.stack((a, b)))[0, 1]) < 0.1
    assert torch.equal(a, torch.rand(1000, generator=seeds.generator(0, "a")))
