"""A rehearsal: the user's training in full, or two shorter ones that the gate compares."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
import torch

from sscl.artifacts import load_tensors, read_json, write_json
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import Config, RehearsalConfig
from sscl.errors import ConfigError
from sscl.layout import HISTORY, MODEL, Root
from sscl.learning.learn import train_and_save
from sscl.release import gate
from sscl.release.config import Limits
from sscl.runner import run_stage
from sscl.stages.table import STAGES


def rehearsed(config: Config, root: Path, epochs: int | None) -> Path:
    run_stage(STAGES["rehearse"], replace(config, rehearsal=RehearsalConfig(epochs)), root, overwrite=True)
    return Root(root).rehearsal


def test_a_full_rehearsal_trains_one_model_as_the_user_does(config: Config, copy: Path) -> None:
    found = rehearsed(config, copy, None)
    assert not (found / "clean").exists()
    assert len(read_json(found / "model" / HISTORY)["loss"]) == config.user.epochs


def test_a_short_rehearsal_trains_two_models_of_as_many_epochs(config: Config, copy: Path) -> None:
    found = rehearsed(config, copy, 1)
    losses = {name: read_json(found / name / HISTORY)["loss"] for name in ("model", "clean")}
    assert {name: len(loss) for name, loss in losses.items()} == {"model": 1, "clean": 1}
    marked, clean = (load_tensors(found / name / MODEL)[0] for name in ("model", "clean"))
    assert any(not torch.equal(marked[name], clean[name]) for name in marked)


def test_both_models_differ_by_nothing_but_the_marks(config: Config, copy: Path) -> None:
    """The one on clean images is the one that a rehearsal without marks would have trained."""
    clean = load_tensors(rehearsed(config, copy, 1) / "clean" / MODEL)[0]
    again = copy / "again"
    short = replace(config.user, epochs=1)
    compute = Compute.set_up(config.compute)
    kept = Checkpoint(copy / "kept")
    train_and_save(short, compute, config.seed, use="rehearsal", data=copy / "clean", out=again, checkpoint=kept)
    assert all(torch.equal(clean[name], tensor) for name, tensor in load_tensors(again / MODEL)[0].items())


def test_the_gate_compares_a_short_rehearsal_with_its_equal(
    config: Config, copy: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    metrics = read_json(Root(copy).metrics)
    figures = {"benign_accuracy": 0.5, "lpips": 0.0, "p_value": 0.0, "frequency": 0.5}
    monkeypatch.setattr(gate, "figures", lambda *_: figures)
    limits = Limits(ba_drop=0.1, lpips=1, auroc=1, p_value=1)

    def lost() -> float:
        return next(check.figure for check in gate.check(Root(copy), limits) if check.name == "ba_drop")

    rehearsed(config, copy, None)
    assert lost() == pytest.approx(metrics["benign_accuracy_clean"] - 0.5)
    clean = rehearsed(config, copy, 1) / "clean" / HISTORY
    write_json(clean, read_json(clean) | {"benign_accuracy": 0.625})
    assert lost() == pytest.approx(0.125)


def test_a_rehearsal_is_no_longer_than_the_users_training(config: Config) -> None:
    """It would learn the marks better than any user, and pass what could not be proven."""
    with pytest.raises(ConfigError, match=r"rehearsal.epochs: 4 is not possible, expected at most user.epochs \(3\)"):
        replace(config, user=replace(config.user, epochs=3), rehearsal=RehearsalConfig(4))


@pytest.mark.parametrize("epochs", [0, -1])
def test_a_rehearsal_of_no_epochs_is_refused(epochs: int) -> None:
    with pytest.raises(ConfigError, match="expected 1 or more, or null for the user's"):
        RehearsalConfig(epochs)
