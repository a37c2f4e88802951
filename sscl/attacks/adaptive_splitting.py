"""ASD (Gao et al. 2023): learn from the images that look clean, and from the others without their labels."""

from __future__ import annotations

import copy
from dataclasses import replace

import numpy as np
import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier
from sscl.train import Practice, fresh, schedule
from sscl.types import ImageSet

FIRST = (
    0.02  # share of each class's released images in the clean pool at the end of the first phase, about the authors'
)
TRUSTED = 0.5  # share of the release in the clean pool, afterwards
VIRTUAL_RATE = 7.5  # of the virtual epoch, times the learning rate (the authors')
TEMPERATURE, ALPHA = 0.5, 0.75  # of guessed labels, and of mixing (MixMatch; Berthelot et al. 2019)
UNLABELLED = 15.0  # weight of the loss on guessed labels at the end (the authors'); it rises from zero


class MixMatch(Practice):
    """Learns images of ``classes`` labels; one whose label is ``classes`` higher is learnt from without it.

    MixMatch with one augmentation an image. ``weight`` is that of the loss on guessed labels.
    """

    def __init__(self, classes: int, weight: float) -> None:
        self.classes, self.weight = classes, weight

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        known = labels < self.classes
        with torch.no_grad():
            guessed = (model(x).float().softmax(dim=1) ** (1 / TEMPERATURE)).clamp_min(1e-12)
        torch.clear_autocast_cache()  # older versions of PyTorch keep weights there that have no gradient
        told = F.one_hot(labels % self.classes, self.classes).to(guessed.dtype)
        told = (1 - self.label_smoothing) * told + self.label_smoothing / self.classes
        wanted = torch.where(known[:, None], told, guessed / guessed.sum(dim=1, keepdim=True))
        seed = int(torch.randint(2**31, (1,), generator=rng))
        share = float(np.random.default_rng(seed).beta(ALPHA, ALPHA))  # torch's Beta draws from the global state
        share = max(share, 1 - share)
        order = torch.randperm(len(x), generator=rng).to(x.device)
        answers = model(share * x + (1 - share) * x[order]).float()
        wanted = share * wanted + (1 - share) * wanted[order]
        supervised = -(wanted * answers.log_softmax(dim=1)).sum(dim=1)
        guesses = (answers.softmax(dim=1) - wanted).square().mean(dim=1)
        return _mean(supervised, known) + self.weight * _mean(guesses, ~known)


def _mean(losses: Tensor, counted: Tensor) -> Tensor:
    return (losses * counted).sum() / counted.sum().clamp_min(1)


@torch.no_grad()
def losses_of(model: Classifier, attacker: Attacker) -> Tensor:
    """Cross-entropy of every released image, float (N,) on the CPU."""
    released = attacker.released
    found = []
    for images, labels in zip(torch.split(released.images, 1000), torch.split(released.labels, 1000), strict=True):
        logits = model.eval()(attacker.compute.floats(images))
        found.append(F.cross_entropy(logits.float(), labels.to(logits.device), reduction="none").cpu())
    return torch.cat(found)


def smallest(scores: Tensor, share: float) -> Tensor:
    """Which images have the smallest scores, bool (N,)."""
    chosen = torch.zeros(len(scores), dtype=torch.bool)
    chosen[scores.argsort(stable=True)[: round(share * len(scores))]] = True
    return chosen


class AdaptiveSplitting(Removal):
    """A fresh model. The attacker's clean images start the pool of images whose labels are learnt.

    For half of the epochs, the images of each class with the smallest loss join it, a few more each time. For a quarter
    of them, it is half of the release, by its loss; then half of the release again, those whose loss falls least when
    the later half of a copy's layers is trained on all of it for an epoch. All others are learnt without labels.

    Where it differs from the authors' code: losses are plain cross-entropies, batches have labelled and unlabelled
    images as they come, the optimiser starts anew with every epoch, and there are 12 epochs instead of 120.
    """

    unit, usual, grid, integral = "epochs", 12, (4, 12), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        epochs, whole = int(strength), attacker.training
        model = attacker.compute.place(fresh(attacker.released, whole, attacker.seed, "splitting"))
        images = torch.cat((attacker.clean.images, attacker.released.images))
        for epoch in range(epochs):
            rate = whole.learning_rate * schedule(whole.schedule, (epoch + 0.5) / epochs)
            training = replace(whole, epochs=1, schedule="constant", learning_rate=rate)
            attacker = replace(attacker, training=training)
            labels = _labels(attacker, self._trusted(model, attacker, epoch, epochs))
            data = ImageSet(images, labels, 2 * attacker.released.class_names)
            practice = MixMatch(model.classes, UNLABELLED * epoch / epochs)
            model = attacker.trained(data, f"splitting {epoch}", practice, start=model)
        return model

    def _trusted(self, model: Classifier, attacker: Attacker, epoch: int, epochs: int) -> Tensor:
        """Which released images are taken for clean before an epoch, bool (N,)."""
        losses, labels = losses_of(model, attacker), attacker.released.labels
        if epoch < epochs / 2:
            chosen = torch.zeros(len(labels), dtype=torch.bool)
            for group in range(attacker.released.classes):
                chosen[labels == group] = smallest(losses[labels == group], FIRST * 2 * epoch / epochs)
            return chosen
        if epoch < 3 * epochs / 4:
            return smallest(losses, TRUSTED)
        return smallest(losses - losses_of(_virtual(model, attacker, epoch), attacker), TRUSTED)


def _virtual(model: Classifier, attacker: Attacker, epoch: int) -> Classifier:
    """A copy, the later half of which was trained on the whole release."""
    copied = copy.deepcopy(model)
    parameters = list(copied.parameters())
    for parameter in parameters[: len(parameters) // 2]:
        parameter.requires_grad_(False)
    training = replace(attacker.training, learning_rate=VIRTUAL_RATE * attacker.training.learning_rate)
    return replace(attacker, training=training).trained(attacker.released, f"splitting {epoch} virtual", start=copied)


def _labels(attacker: Attacker, trusted: Tensor) -> Tensor:
    """Of clean, then released images; the label of one that is not trusted is raised by the number of classes."""
    released = attacker.released
    return torch.cat((attacker.clean.labels, torch.where(trusted, released.labels, released.labels + released.classes)))


REMOVALS.register("adaptive_splitting")(AdaptiveSplitting())
