"""The simulated thief, where the model that it trained is a classifier on an encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sscl.attacks import REMOVALS
from sscl.config import Config
from sscl.models.io import load_classifier
from sscl.runner import run_stage
from sscl.stages.table import STAGES


@pytest.mark.slow
def test_a_thief_who_learns_contrastively_goes_on_with_labels(config: Config, copy: Path) -> None:
    """Fine-tuning and pruning take the classifier as it is; how its encoder was trained does not matter to them."""
    user = replace(config.user, learning="simclr", augment="views", optimizer="sgd", batch_size=32)
    run_stage(STAGES["attack"], replace(config, user=user), copy, overwrite=True)
    for attack in config.attacks.removals:
        _, about = load_classifier(copy / "models/attacked" / attack.name / "model.safetensors")
        assert 0 <= about["benign_accuracy"] <= 1


@pytest.mark.slow
def test_a_killed_one_does_not_attack_again(config: Config, copy: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = config.attacks.removals[0]
    second = replace(first, name="pruning" if first.name != "pruning" else "fine_tuning", strength=1)
    attacks = replace(config.attacks, removals=(first, second))
    attacked: list[str] = []

    def counted(name: str) -> Any:
        attack = REMOVALS[name]

        def call(*given: Any) -> Any:
            attacked.append(name)
            if attacked == [first.name, second.name]:
                raise KeyboardInterrupt
            return attack(*given)

        return call

    monkeypatch.setattr("sscl.stages.attack.REMOVALS", {entry.name: counted(entry.name) for entry in (first, second)})
    changed = replace(config, seed=1, attacks=attacks)  # for which nothing is attacked yet
    with pytest.raises(KeyboardInterrupt):
        run_stage(STAGES["attack"], changed, copy, overwrite=True)
    run_stage(STAGES["attack"], changed, copy, overwrite=True)
    assert attacked == [first.name, second.name, second.name]
    assert {path.name for path in (copy / "models/attacked").iterdir()} == {first.name, second.name}
