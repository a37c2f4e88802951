"""Stage ``surrogate``: the owner's own classifier on clean data, which the generator is trained against."""

from __future__ import annotations

from pathlib import Path

from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ComputeConfig, TrainConfig
from sscl.learning.learn import train_and_save


def run(
    *, surrogate: TrainConfig, compute: ComputeConfig, seed: int, data: Path, out: Path, checkpoint: Checkpoint
) -> None:
    """Train on ``data``'s training split; writes the model, its benign accuracy and its loss curve to ``out``."""
    train_and_save(surrogate, Compute.set_up(compute), seed, use="surrogate", data=data, out=out, checkpoint=checkpoint)
