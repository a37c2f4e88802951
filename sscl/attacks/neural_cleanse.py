"""Neural Cleanse (Wang et al. 2019): the class that a small patch turns everything into is the target."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from sscl import seeds
from sscl.attacks.base import INVERSIONS, Attacker, TriggerInversion
from sscl.data.spread import spread
from sscl.descent import descend
from sscl.models import Classifier

FOUND = 0.9  # success below which no trigger was found, and the mask says nothing
SUSPICIOUS = 2.0  # anomaly index from which a class counts as a target (Wang et al. 2019)


@dataclass(frozen=True)
class Inversion:
    """What was found.

    Attributes:
        norms: L1 norm of the smallest mask found for each class, (K,).
        success: share of images that mask and pattern turn into the class, (K,).
        anomaly: how far each norm lies below the median, in median absolute deviations, (K,); classes for which no
            trigger was found count with the largest norm.
    """

    norms: np.ndarray
    success: np.ndarray
    anomaly: np.ndarray


class NeuralCleanse(TriggerInversion):
    """The anomaly index of each class's smallest mask."""

    suspicious = SUSPICIOUS
    steps: ClassVar[int] = 200  # for each class

    def score(self, model: Classifier, attacker: Attacker) -> np.ndarray:
        return invert(model, attacker, self.steps).anomaly


def invert(model: Classifier, attacker: Attacker, steps: int = NeuralCleanse.steps, weight: float = 8.0) -> Inversion:
    """Find a mask and pattern for every class on clean images by Adam.

    Args:
        model: of any training.
        attacker: its clean images.
        steps: for each class.
        weight: of the mask's mean, beside the cross-entropy; 0.01 for each of 28 x 28 pixels, the authors' order.
    """
    model.requires_grad_(False).eval()
    found = [_invert_class(model, attacker, label, steps=steps, weight=weight) for label in range(model.classes)]
    norms, success = (np.array(column) for column in zip(*found, strict=True))
    return Inversion(norms, success, anomaly_index(np.where(success < FOUND, norms.max(), norms)))


def anomaly_index(norms: np.ndarray) -> np.ndarray:
    """(K,): (median - norm) / (1.4826 median |norm - median|), positive for small norms."""
    deviation = float(stats.median_abs_deviation(norms, scale="normal"))
    return np.asarray((np.median(norms) - norms) / max(deviation, 1e-12))


def _invert_class(
    model: Classifier, attacker: Attacker, label: int, *, steps: int, weight: float
) -> tuple[float, float]:
    device, data = attacker.compute.device, attacker.clean
    rng = seeds.generator(attacker.seed, "neural-cleanse", str(label))
    mask = torch.full((1, 1, data.size, data.size), -2.0, device=device, requires_grad=True)
    pattern = torch.zeros((1, data.channels, data.size, data.size), device=device, requires_grad=True)
    optimizer = torch.optim.Adam((mask, pattern), lr=0.1, betas=(0.5, 0.9))
    for _ in range(steps):
        x = attacker.compute.floats(data.images[torch.randint(len(data), (128,), generator=rng)])
        answers = model(_stamped(x, mask, pattern))
        wanted = torch.full((len(x),), label, device=device)
        loss = F.cross_entropy(answers, wanted) + weight * mask.sigmoid().mean()
        descend(optimizer, loss)
    with torch.no_grad():
        x = attacker.compute.floats(data.images[spread(len(data), 1000)])
        hits = (model(_stamped(x, mask, pattern)).argmax(dim=1) == label).double().mean()
        return float(mask.sigmoid().sum()), float(hits)


def _stamped(x: Tensor, mask: Tensor, pattern: Tensor) -> Tensor:
    share = mask.sigmoid()
    return (1 - share) * x + share * pattern.sigmoid()


INVERSIONS.register("neural_cleanse")(NeuralCleanse())
