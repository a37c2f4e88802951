"""The target class: drawn from the seed as a part of the key, unless the owner chose it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sscl.artifacts import load_tensors
from sscl.config import Config
from sscl.params import load
from sscl.runner import run_stage
from sscl.stages.table import STAGES
from sscl.watermarks.io import GENERATOR
from tests.conftest import ROOT, TINY


def made(config: Config, root: Path, role: str = "release") -> dict[str, Any]:
    """The metadata of the secret that the stage makes."""
    run_stage(STAGES[f"generator@{role}"], config, root, overwrite=True)
    return load_tensors(root / f"private/generator/{role}" / GENERATOR)[1]


@pytest.mark.parametrize("method", ["sscl_keyed", "badnets"])
def test_the_class_is_drawn_from_the_seed(method: str, config: Config, copy: Path) -> None:
    chosen = load(ROOT / "params.yaml", "demo", [*TINY, f"generator.method={method}"]).generator
    seeded = [replace(config, seed=seed, generator=chosen) for seed in (0, 0, 1, 2, 3, 4)]
    found = [made(c, copy)["target_class"] for c in seeded]
    assert found[0] == found[1]
    assert len(set(found)) > 1
    assert set(found) <= {0, 1, 2}


def test_a_chosen_class_is_every_decoys(config: Config, copy: Path) -> None:
    ours = made(replace(config, target_class=2), copy)
    assert (ours["target_class"], ours["notes"]["targets"]) == (2, [2])
    theirs = replace(config, independent=replace(config.independent, target_class=0))
    assert made(theirs, copy, "independent")["target_class"] == 0
