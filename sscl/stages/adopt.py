"""Stage ``adopt``: a stranger builds a classifier on the encoder, or trains an encoder of its own."""

from __future__ import annotations

from pathlib import Path

import torch

from sscl import seeds
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import ComputeConfig, TrainConfig
from sscl.data.store import load_split
from sscl.encoders.removals import REMOVALS, Thief
from sscl.layout import MODEL
from sscl.learning.downstream import Downstream, downstream
from sscl.learning.learn import learn
from sscl.models.io import load_classifier, save_classifier
from sscl.train import benign_accuracy

LABELLED = 0.5  # share of the training images whose labels the stranger has


def run(
    *,
    user: TrainConfig,
    compute: ComputeConfig,
    seed: int,
    data: Path,
    out: Path,
    variant: str,
    checkpoint: Checkpoint,
    encoder: Path | None = None,
) -> None:
    """Write the classifier to ``out``.

    ``linear`` fits a linear layer on the encoder's features, ``full`` goes on to fine-tune everything; any other
    variant with an encoder is a removal, followed by ``linear``. Without an encoder the stranger trains its own.
    """
    resolved, train = Compute.set_up(compute), load_split(data, "train")
    order = torch.randperm(len(train), generator=seeds.generator(seed, "adopt", variant))
    mine = train.subset(order[: round(LABELLED * len(train))])
    if encoder is None:
        model = learn(mine, user, resolved, seed=seed, use=variant, checkpoint=checkpoint).model
    else:
        start = resolved.place(load_classifier(encoder / MODEL, train.classes)[0])
        how: Downstream = "full" if variant == "full" else "linear"
        if variant in REMOVALS:
            start = REMOVALS[variant](start, Thief(mine, user, resolved, seed))
        model = downstream(start, mine, how, config=user, compute=resolved, seed=seed, use=variant)
    out.mkdir(parents=True)
    accuracy = benign_accuracy(model, load_split(data, "test"), resolved)
    save_classifier(out / MODEL, model, benign_accuracy=accuracy)
