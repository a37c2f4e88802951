"""A bank of clean models for the conformal test: independent of each other, of any release, and made once."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import torch

from sscl import seeds
from sscl.artifacts import digest, key_of
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.data.store import load_split
from sscl.models.io import save_classifier
from sscl.train import train_classifier

SHARE = 2 / 3  # of the training images, drawn anew for each model


def build_bank(
    data: Path, out: Path, training: TrainConfig, models: Sequence[str], count: int, compute: Compute, seed: int
) -> list[Path]:
    """Train what is missing of ``count`` clean models, each with its own seed and subset, architectures in turn.

    Args:
        data: the clean dataset.
        out: folder of the bank; what is there for the same data and training is kept.
        training: epochs, optimiser and so on; ``model`` is replaced.
        models: names of architectures.
        count: how many models; the conformal p-value cannot be below ``1 / (1 + count)``.
        compute: device and precision.
        seed: names their random numbers.
    """
    out.mkdir(parents=True, exist_ok=True)
    train, paths = None, []
    name_of_data = digest(data)
    for number in range(count):
        config = replace(training, model=models[number % len(models)])
        key = key_of(data=name_of_data, training=vars(config), number=number, seed=seed)[:12]
        path = out / f"{config.model}-{number:03d}-{key}.safetensors"
        paths.append(path)
        if path.is_file():
            continue
        train = train or load_split(data, "train")
        rng = seeds.generator(seed, "reference", str(number), "subset")
        subset = train.subset(torch.randperm(len(train), generator=rng)[: round(SHARE * len(train))].sort().values)
        trained = train_classifier(subset, config, compute, seeds.derive(seed, "reference", str(number)), "reference")
        save_classifier(path, trained.model)
    return paths
