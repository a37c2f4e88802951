"""IBD-PSC (Hou et al. 2024): a triggered image keeps its answer when the model's own scales are amplified."""

from __future__ import annotations

import copy

import numpy as np
import torch
from torch import nn

from sscl.attacks.base import DETECTORS, Attacker, Detector
from sscl.models import Classifier
from sscl.models.features import last_linear
from sscl.train import benign_accuracy, predict
from sscl.types import ImageSet

FACTOR = 1.5  # on the scales of a layer (the paper's)
COPIES = 5  # of the model, each with one more layer amplified (the paper's)
LEAST = 0.6  # error on clean images from which copies count (the paper's xi)


class IbdPsc(Detector):
    """Mean probability of an image's own answer over models whose last layers are amplified.

    Amplified are weight and bias of batch normalisations, from the last on; in a model with fewer than two, those of
    convolutions and linear layers before the last.
    """

    looks_at = "queries"

    def score(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        own = predict(model, images.images, attacker.compute).argmax(dim=1)
        layers = len(scaled_layers(model))
        first = next((n for n in range(1, layers) if self._error(model, n, attacker) >= LEAST), layers)
        counts = range(first, min(layers, first + COPIES - 1) + 1)
        total = torch.zeros(len(images), dtype=torch.float64)
        for count in counts:
            answers = predict(amplified(model, count), images.images, attacker.compute)
            total += answers.gather(1, own[:, None])[:, 0]
        return (total / len(counts)).numpy()

    def _error(self, model: Classifier, count: int, attacker: Attacker) -> float:
        return 1 - benign_accuracy(amplified(model, count), attacker.clean, attacker.compute)


def scaled_layers(model: nn.Module) -> list[nn.Module]:
    """The layers whose scales are amplified, the last first."""
    norms: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.BatchNorm2d)]
    last = last_linear(model)
    others: list[nn.Module] = [m for m in model.modules() if isinstance(m, nn.Conv2d | nn.Linear) and m is not last]
    return (norms if len(norms) >= 2 else others)[::-1]


@torch.no_grad()
def amplified(model: Classifier, count: int) -> Classifier:
    """A copy in which the last ``count`` layers are ``FACTOR`` times as strong."""
    copied = copy.deepcopy(model)
    for layer in scaled_layers(copied)[:count]:
        for part in (layer.weight, layer.bias):
            if isinstance(part, torch.Tensor):  # also a scale that is no parameter
                part.mul_(FACTOR)
    return copied


DETECTORS.register("ibd_psc")(IbdPsc())
