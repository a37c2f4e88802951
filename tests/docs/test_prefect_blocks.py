"""Blocks of commands that talk to Prefect's server, run as they are written."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest

from tests.docs.pages import kept


@pytest.mark.slow
@pytest.mark.parametrize(("page", "number"), kept(talking=True))
def test_a_block_runs_as_it_is_written(
    page: str, number: int, block: Callable[..., Any], prefect: dict[str, str]
) -> None:
    block(page, number, **prefect)
