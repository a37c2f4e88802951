"""The target class: drawn from the seed as a part of the key, unless the owner chose it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

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


def test_the_class_is_drawn_from_the_seed(config: Config, copy: Path) -> None:
    chosen = load(ROOT / "params.yaml", "demo", [*TINY, "generator.method=badnets"]).generator
    seeded = [replace(config, seed=seed, generator=chosen) for seed in (0, 0, 1, 2, 3, 4)]
    found = [made(c, copy)["target_class"] for c in seeded]
    assert found[0] == found[1]
    assert len(set(found)) > 1
    assert set(found) <= {0, 1, 2}


def test_a_chosen_class_is_the_releases_and_the_strangers_is_his(config: Config, copy: Path) -> None:
    badnets = load(ROOT / "params.yaml", "demo", [*TINY, "generator.method=badnets"]).generator
    config = replace(config, generator=badnets)
    assert made(replace(config, target_class=2), copy)["target_class"] == 2
    theirs = replace(config, independent=replace(config.independent, target_class=0))
    assert made(theirs, copy, "independent")["target_class"] == 0


def test_marks_are_made_before_there_is_a_word(config: Config, copy: Path) -> None:
    made(config, copy)
    tensors = load_tensors(copy / "private/generator/release" / GENERATOR)[0]
    assert "word" not in tensors
    assert "strengths" in tensors
