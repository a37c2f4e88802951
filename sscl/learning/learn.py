"""A model from a dataset: trained with labels, or contrastively with a head fitted afterwards."""

from __future__ import annotations

from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.learning.base import SUPERVISED
from sscl.learning.downstream import downstream
from sscl.learning.train import train_encoder
from sscl.train import Trained, train_classifier
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
