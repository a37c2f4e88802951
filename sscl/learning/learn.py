"""A model from a dataset: trained with labels, or contrastively with a head fitted afterwards."""

from __future__ import annotations

from pathlib import Path

from sscl.artifacts import write_json
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.data.store import load_split
from sscl.layout import HISTORY, MODEL
from sscl.learning.base import SUPERVISED
from sscl.learning.downstream import downstream
from sscl.learning.train import train_encoder
from sscl.models.io import save_classifier
from sscl.train import Trained, benign_accuracy, train_classifier
from sscl.types import ImageSet


def learn(
    data: ImageSet, config: TrainConfig, compute: Compute, *, seed: int, use: str, checkpoint: Checkpoint | None = None
) -> Trained:
    """Train as ``config.learning`` says; arguments and errors as of ``train_classifier``."""
    if config.learning == SUPERVISED:
        return train_classifier(data, config, compute, seed=seed, use=use, checkpoint=checkpoint)
    trained = train_encoder(data, config, compute, seed=seed, use=use, checkpoint=checkpoint)
    model = downstream(trained.model, data, config.downstream, config=config, compute=compute, seed=seed, use=use)
    return Trained(model, trained.losses, trained.knn)


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
