"""The loop that trains encoders contrastively, with the classifiers' optimisers and checkpoints."""

from __future__ import annotations

import importlib.util
import math
from collections.abc import Callable

import torch
from torch import Tensor, nn

from sscl import progress, seeds
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.data.views import VIEWS, two_views
from sscl.descent import descend
from sscl.errors import ConfigError, SSCLError
from sscl.learning.base import LEARNERS, Learner
from sscl.learning.neighbours import knn_accuracy
from sscl.models import Classifier
from sscl.train import OPTIMIZERS, Trained, fresh, schedule
from sscl.types import ImageSet

POINTS = 10  # of the curve of kNN accuracies


def train_encoder(
    data: ImageSet,
    config: TrainConfig,
    compute: Compute,
    *,
    seed: int,
    use: str,
    checkpoint: Checkpoint | None = None,
    start: Classifier | None = None,
    watch: Callable[[int, Classifier], None] | None = None,
) -> Trained:
    """Train an encoder on images; labels serve for the curve of kNN accuracies alone.

    Args:
        data: training images.
        config: ``learning`` names the method, ``augment`` the views.
        compute: device and precision.
        seed: the run's seed.
        use: names this encoder's random numbers, e.g. ``"user"``.
        checkpoint: where to resume from after a kill; ``None`` for no checkpoints.
        start: changed in place, to go on from its weights; ``None`` for a fresh encoder.
        watch: called after every epoch trained here, with the number of epochs done and the encoder, which it must not
            change.

    Returns:
        A classifier whose last layer is untrained, its mean loss an epoch, and the curve.

    Raises:
        ConfigError: fewer images than a batch, or packages are missing. SSCLError: the loss is not finite.
    """
    if importlib.util.find_spec("lightly") is None or importlib.util.find_spec("kornia") is None:
        raise ConfigError(f"learning: {config.learning} needs lightly and kornia; pip install '.[ssl]'")
    if len(data) < config.batch_size:
        raise ConfigError(f"batch_size: {config.batch_size} is more than the {len(data)} images; use a smaller one")
    resident = data.to(compute.device)
    encoder = compute.place(start or fresh(resident, config, seed, use))
    learner = LEARNERS[config.learning](encoder, seeds.generator(seed, use, "heads")).to(compute.device)
    learner.register_buffer("curve", torch.full((config.epochs,), math.nan))
    both = nn.ModuleDict({"encoder": encoder, "learner": learner})
    optimizer = OPTIMIZERS[config.optimizer]([p for p in both.parameters() if p.requires_grad], config)
    order = seeds.generator(seed, use, "order")
    losses = checkpoint.resume(both, optimizer, order) if checkpoint else []
    transform = VIEWS[config.augment](data.channels, data.size)
    every = max(1, config.epochs // POINTS)
    with progress.step(f"train {use}", config.epochs * len(data)) as step:
        step.advance(len(losses) * len(data))
        for epoch in range(len(losses), config.epochs):
            draws = seeds.derive(seed, use, "views", str(epoch))
            losses.append(
                _epoch(
                    encoder,
                    learner,
                    optimizer,
                    data=resident,
                    config=config,
                    compute=compute,
                    order=order,
                    epoch=epoch,
                    transform=transform,
                    draws=draws,
                )
            )
            step.advance(len(data))
            if not math.isfinite(losses[-1]):
                raise SSCLError(f"training of {use} diverged in epoch {epoch + 1}: lower its learning_rate")
            if (epoch + 1) % every == 0:
                learner.curve[epoch] = knn_accuracy(encoder, data, compute)  # type: ignore[operator]
            if watch:
                watch(epoch + 1, encoder)
            if checkpoint:
                checkpoint.save(both, optimizer, order, losses)
    curve = [(n + 1, value) for n, value in enumerate(learner.curve.tolist()) if not math.isnan(value)]  # type: ignore[operator]
    return Trained(encoder.eval(), losses, curve)


def _epoch(
    encoder: Classifier,
    learner: Learner,
    optimizer: torch.optim.Optimizer,
    *,
    data: ImageSet,
    config: TrainConfig,
    compute: Compute,
    order: torch.Generator,
    epoch: int,
    transform: nn.Module,
    draws: int,
) -> float:
    """Mean loss. The last images of the order, fewer than a batch, wait for the next epoch."""
    encoder.train()
    learner.train()
    batches = len(data) // config.batch_size
    permutation = torch.randperm(len(data), generator=order)[: batches * config.batch_size].to(compute.device)
    total = torch.zeros((), device=compute.device)
    for number, batch in enumerate(torch.split(permutation, config.batch_size)):
        progressed = (epoch * batches + number) / (config.epochs * batches)
        first, second = two_views(transform, compute.floats(data.images[batch]), draws + number)
        with compute.autocast():
            loss: Tensor = learner.loss(encoder, compute.laid_out(first), compute.laid_out(second))
        descend(optimizer, loss, rate=config.learning_rate * schedule(config.schedule, progressed))
        learner.follow(encoder)
        total += loss.detach().float()
    return float(total) / batches
