"""The one classifier loop: surrogate, simulated user and every later model are trained by it."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl import progress, seeds
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.data.augment import AUGMENTATIONS
from sscl.descent import descend
from sscl.errors import SSCLError
from sscl.models import Classifier, build
from sscl.models.base import PRETRAINED
from sscl.models.io import load_pretrained
from sscl.types import ImageSet

Optimizers = dict[str, Callable[[list[Tensor], TrainConfig], torch.optim.Optimizer]]
OPTIMIZERS: Optimizers = {
    "adam": lambda p, c: torch.optim.Adam(p, lr=c.learning_rate, weight_decay=c.weight_decay),
    "sgd": lambda p, c: torch.optim.SGD(
        p, lr=c.learning_rate, momentum=0.9, nesterov=True, weight_decay=c.weight_decay
    ),
}
WARM_UP = 0.2  # share of the steps in which the one-cycle schedule rises


@dataclass(frozen=True)
class Trained:
    """A trained classifier and its mean loss an epoch.

    Attributes:
        model: in evaluation mode.
        losses: one an epoch.
        knn: epochs of a contrastive training with the encoder's kNN accuracy after each.
    """

    model: Classifier
    losses: list[float]
    knn: list[tuple[int, float]] = field(default_factory=list)


class Practice:
    """How a batch is learnt from; attackers' trainings override what they do otherwise.

    Attributes:
        label_smoothing: share of the label that is spread over all classes (Szegedy et al. 2016). A training sets it
            before it begins.
    """

    label_smoothing: float = 0.0

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """Scalar loss to minimise, of float images (N, C, H, W) in [0, 1]."""
        return self.cross_entropy(model(x), labels)

    def cross_entropy(self, answers: Tensor, labels: Tensor) -> Tensor:
        """Scalar, of logits (N, K) and labels (N,), smoothed as the training wants it."""
        return F.cross_entropy(answers, labels, label_smoothing=self.label_smoothing)

    def adjust(self, model: Classifier, rng: torch.Generator) -> None:
        """Change the gradients before the step."""


def train_classifier(
    data: ImageSet,
    config: TrainConfig,
    compute: Compute,
    *,
    seed: int,
    use: str,
    checkpoint: Checkpoint | None = None,
    start: Classifier | None = None,
    practice: Practice | None = None,
) -> Trained:
    """Train a classifier, with cross-entropy unless ``practice`` says otherwise.

    The images stay on the device as uint8; an epoch's order and augmentation are drawn at its start.

    Args:
        data: training images.
        config: architecture, optimiser, schedule, augmentation.
        compute: device and precision.
        seed: the run's seed.
        use: names this model's random numbers, e.g. ``"surrogate"``.
        checkpoint: where to resume from after a kill; ``None`` for no checkpoints.
        start: changed in place, to go on from its weights; ``None`` for a fresh model.
        practice: how a batch is learnt from.

    Raises:
        SSCLError: the loss is not finite.
    """
    resident = data.to(compute.device)
    model = compute.place(start or fresh(resident, config, seed, use))
    optimizer = OPTIMIZERS[config.optimizer](list(model.parameters()), config)
    order = seeds.generator(seed, use, "order")
    how = practice or Practice()
    how.label_smoothing = config.label_smoothing
    losses: list[float] = []
    if checkpoint:
        losses = checkpoint.resume(model, optimizer, order)
    run = compute.faster(model)
    with progress.step(f"train {use}", config.epochs * len(data)) as step:
        step.advance(len(losses) * len(data))
        for epoch in range(len(losses), config.epochs):
            losses.append(
                _epoch(
                    run,
                    optimizer,
                    resident,
                    config=config,
                    compute=compute,
                    order=order,
                    epoch=epoch,
                    step=step,
                    practice=how,
                )
            )
            if not math.isfinite(losses[-1]):
                raise SSCLError(f"training of {use} diverged in epoch {epoch + 1}: lower its learning_rate")
            if checkpoint:
                checkpoint.save(model, optimizer, order, losses)
    return Trained(model.eval(), losses)


def fresh(data: ImageSet, config: TrainConfig, seed: int, use: str) -> Classifier:
    """A model before its training, which normalises as ``data`` needs it, or as its pre-trained weights do."""
    model = build(
        config.model, data.channels, data.size, classes=data.classes, generator=seeds.generator(seed, use, "weights")
    )
    model.normalise_as(data.images)
    if config.start == "imagenet":
        model.start_from(PRETRAINED[config.model]())
    elif config.start != "scratch":
        model.start_from(load_pretrained(Path(config.start)))
    return model


def _epoch(
    model: Classifier,
    optimizer: torch.optim.Optimizer,
    data: ImageSet,
    *,
    config: TrainConfig,
    compute: Compute,
    order: torch.Generator,
    epoch: int,
    step: progress.Step,
    practice: Practice,
) -> float:
    model.train()
    augmentation = AUGMENTATIONS[config.augment]()
    permutation = torch.randperm(len(data), generator=order).to(compute.device)
    choices = augmentation.draw(len(data), order).to(compute.device)
    batches = math.ceil(len(data) / config.batch_size)
    total = torch.zeros((), device=compute.device)
    for number, batch in enumerate(torch.split(permutation, config.batch_size)):
        progressed = (epoch * batches + number) / (config.epochs * batches)
        images = augmentation.apply(data.images[batch], choices[batch])
        with compute.autocast():
            loss = practice.loss(model, compute.floats(images), data.labels[batch], order)
        rate = config.learning_rate * schedule(config.schedule, progressed)
        descend(optimizer, loss, rate=rate, before=partial(practice.adjust, model, order))
        total += loss.detach().float() * len(batch)
        step.advance(len(batch))
    return float(total) / len(data)


def minimise(
    network: nn.Module,
    count: int,
    loss: Callable[[Tensor], Tensor],
    *,
    use: str,
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: torch.Generator,
    shape: str = "constant",
) -> None:
    """Train a network that is no classifier, in place, by Adam and in full precision.

    Args:
        network: in the mode that it is to be trained in.
        count: of examples.
        loss: int64 (B,), the numbers of a batch's examples -> scalar to minimise.
        use: names the training to whoever watches.
        epochs, batch_size, learning_rate: of the training.
        rng: draws the order; ``loss`` may draw from it, too.
        shape: of the learning rate's ``schedule``.

    Raises:
        SSCLError: the loss is no longer finite after an epoch.
    """
    optimizer = torch.optim.Adam(network.parameters(), lr=learning_rate)
    batches = math.ceil(count / batch_size)
    with progress.step(f"train {use}", epochs * count) as step:
        for epoch in range(epochs):
            total: Tensor | float = 0.0
            for number, batch in enumerate(torch.split(torch.randperm(count, generator=rng), batch_size)):
                found = loss(batch)
                rate = learning_rate * schedule(shape, (epoch * batches + number) / (epochs * batches))
                descend(optimizer, found, rate=rate)
                total = total + found.detach()
                step.advance(len(batch))
            if not math.isfinite(float(total)):
                raise SSCLError(f"training of {use} diverged in epoch {epoch + 1}; it leaves no network")


def schedule(name: str, progressed: float) -> float:
    """Factor on the learning rate after the share ``progressed`` in [0, 1) of the steps.

    ``onecycle`` rises linearly over the first fifth and falls linearly to zero (Smith 2018); ``constant`` is 1.
    """
    if name == "constant":
        return 1.0
    return min((progressed + 1e-3) / WARM_UP, (1 - progressed) / (1 - WARM_UP))


@torch.no_grad()
def predict(model: Classifier, images: Tensor, compute: Compute, batch_size: int = 1000) -> Tensor:
    """Probabilities, float64 (N, K) on the CPU, of uint8 images (N, C, H, W).

    In full precision also where training is not: answers are evidence, and bf16 keeps two to three digits.
    """
    model.eval()
    batches = torch.split(images, batch_size)
    return torch.cat([model(compute.floats(batch)).double().softmax(dim=1).cpu() for batch in batches])


def benign_accuracy(model: Classifier, data: ImageSet, compute: Compute) -> float:
    """Share of clean images answered with their own label, in [0, 1]."""
    predicted = predict(model, data.images, compute).argmax(dim=1)
    return float((predicted == data.labels.cpu()).double().mean())
