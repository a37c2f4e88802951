"""Blocks of commands that need no Prefect server, run as they are written in a checkout with tiny parameters."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from tests.docs.pages import WALK_THROUGH, kept


@pytest.mark.slow
@pytest.mark.parametrize(("page", "number"), kept(talking=False))
def test_a_block_runs_as_it_is_written(page: str, number: int, block: Callable[..., tuple[Path, str]]) -> None:
    place, said = block(page, number)
    if (page, number) == WALK_THROUGH:
        assert said.count("all as published: ") == 2
        assert said.count("VALID") == 2
        assert "mnist-protected 1.0.0  " in said
        assert list((place / "private/unsealed").rglob("generator.safetensors"))
        assert not list((place / "stranger/got").rglob("*.safetensors"))
        assert "(confirmatory)" in said
