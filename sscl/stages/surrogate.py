"""Stage ``surrogate``: the owner's own classifier on clean data, which the generator is trained against."""

from __future__ import annotations

from pathlib import Path

from sscl.artifacts import write_json
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ComputeConfig, TrainConfig
from sscl.data.store import load_split
from sscl.layout import HISTORY, MODEL
from sscl.learning.learn import learn
from sscl.models.io import save_classifier
from sscl.train import benign_accuracy


def run(
    *, surrogate: TrainConfig, compute: ComputeConfig, seed: int, data: Path, out: Path, checkpoint: Checkpoint
) -> None:
    """Train on ``data``'s training split; writes the model, its benign accuracy and its loss curve to ``out``."""
    train_and_save(
        surrogate, Compute.resolve(compute), seed, use="surrogate", data=data, out=out, checkpoint=checkpoint
    )


def train_and_save(
    config: TrainConfig, compute: Compute, seed: int, *, use: str, data: Path, out: Path, checkpoint: Checkpoint
) -> None:
    """Train a classifier on a stored dataset and write ``model.safetensors`` and ``history.json`` to ``out``."""
    trained = learn(load_split(data, "train"), config, compute, seed=seed, use=use, checkpoint=checkpoint)
    accuracy = benign_accuracy(trained.model, load_split(data, "test"), compute)
    out.mkdir(parents=True)
    save_classifier(out / MODEL, trained.model, benign_accuracy=accuracy)
    curve = {"knn": trained.knn} if trained.knn else {}
    write_json(out / HISTORY, {"loss": trained.losses, "benign_accuracy": accuracy, **curve})
