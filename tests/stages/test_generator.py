"""The target class: drawn from the seed as a part of the key, unless the owner chose it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from sscl.artifacts import load_tensors
from sscl.checkpoint import Checkpoint
from sscl.config import Config
from sscl.params import load
from sscl.stages import generator
from sscl.watermarks.io import GENERATOR
from tests.conftest import ROOT, TINY


def made(config: Config, finished: Path, out: Path, variant: str) -> dict[str, object]:
    """The metadata of the secret that the stage makes."""
    generator.run(
        config.generator,
        config.target_class,
        config.independent,
        config.surrogate,
        config.compute,
        config.seed,
        None,
        finished / "clean",
        finished / "private/surrogate",
        out,
        variant,
        Checkpoint(out.with_suffix(".checkpoint")),
    )
    return load_tensors(out / GENERATOR)[1]


@pytest.mark.parametrize("method", ["sscl_keyed", "badnets"])
def test_the_class_is_drawn_from_the_seed(method: str, config: Config, finished: Path, tmp_path: Path) -> None:
    chosen = load(ROOT / "params.yaml", "demo", [*TINY, f"generator.method={method}"]).generator
    seeded = [replace(config, seed=seed, generator=chosen) for seed in (0, 0, 1, 2, 3, 4)]
    found = [made(c, finished, tmp_path / str(n), "release")["target_class"] for n, c in enumerate(seeded)]
    assert found[0] == found[1]
    assert len(set(found)) > 1
    assert set(found) <= {0, 1, 2}


def test_a_chosen_class_is_every_decoys(config: Config, finished: Path, tmp_path: Path) -> None:
    ours = made(replace(config, target_class=2), finished, tmp_path / "release", "release")
    assert (ours["target_class"], ours["notes"]["targets"]) == (2, [2])  # type: ignore[index]
    theirs = replace(config, independent=replace(config.independent, target_class=0))
    assert made(theirs, finished, tmp_path / "independent", "independent")["target_class"] == 0
