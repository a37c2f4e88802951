"""Stage ``simulate``: a stranger trains a model on a dataset, marked or clean."""

from __future__ import annotations

from pathlib import Path

from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ComputeConfig, TrainConfig
from sscl.learning.learn import train_and_save


def run(
    *, user: TrainConfig, compute: ComputeConfig, seed: int, data: Path, out: Path, variant: str, checkpoint: Checkpoint
) -> None:
    """Train the user's model on ``data``; ``variant`` (the scenario) names its random numbers."""
    train_and_save(user, Compute.set_up(compute), seed, use=variant, data=data, out=out, checkpoint=checkpoint)
