"""Encoders of strangers who never saw a mark; each is trained once and kept."""

from __future__ import annotations

from pathlib import Path

import torch
from torch import Tensor

from sscl import seeds
from sscl.benchmark.study import Study
from sscl.benchmark.workshop import precision
from sscl.checkpoint import Checkpoint
from sscl.config import TrainConfig
from sscl.learning.train import train_encoder
from sscl.models import Classifier
from sscl.models.io import save_classifier


def stranger(study: Study, config: TrainConfig, number: int) -> Classifier:
    """An encoder trained on ``stranger_images``."""
    made = {"data": study.data, "training": vars(config), "number": number}
    made |= precision(study.config.compute)
    slot = study.bench.workshop.slot("strangers", __name__, **made)

    def build(out: Path, checkpoint: Checkpoint) -> None:
        data = study.train.subset(stranger_images(len(study.train), number)[0])
        found = train_encoder(data, config, study.compute, seed=number, use="stranger", checkpoint=checkpoint)
        out.mkdir(parents=True)
        save_classifier(out / "model.safetensors", found.model)

    return study.opened(study.bench.workshop.make(slot, build) / "model.safetensors")


def stranger_images(count: int, number: int) -> tuple[Tensor, Tensor]:
    """Indices of the half of the owner's images that a stranger trains on, and of the other half."""
    order = torch.randperm(count, generator=seeds.generator(number, "part"))
    return order[: count // 2], order[count // 2 :]
