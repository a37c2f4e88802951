"""Digests of code, also where several cells of a benchmark compute them at once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from sscl import provenance


@pytest.fixture
def impatient() -> Iterator[None]:
    """Threads take turns at every chance, also inside the parser, where the collector runs code of Python's."""
    interval, threshold = sys.getswitchinterval(), gc.get_threshold()

    def busy(*_: object) -> None:
        sum(range(500))

    sys.setswitchinterval(1e-6)
    gc.set_threshold(50)
    gc.callbacks.append(busy)
    yield
    gc.callbacks.remove(busy)
    gc.set_threshold(*threshold)
    sys.setswitchinterval(interval)


def test_threads_may_compute_digests_at_once(impatient: None) -> None:
    """Without a lock, every sixth failed: "AST constructor recursion depth mismatch"."""

    def needs(depth: int) -> frozenset[object]:
        return needs(depth - 1) if depth else provenance._needs.__wrapped__(provenance.PACKAGE / "audit" / "verdict.py")

    with ThreadPoolExecutor(4) as pool:
        found = list(pool.map(needs, [n % 20 for n in range(24)]))
    assert set(found) == {needs(0)}
