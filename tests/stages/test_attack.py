"""The simulated thief, where the model that it trained is a classifier on an encoder."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

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
