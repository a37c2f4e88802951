"""Randomised smoothing (Cohen et al. 2019): every answer is the mean over noisy copies of the query."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Removal, Wrapped
from sscl.attacks.query_filters import noise
from sscl.models import Classifier

COPIES = 16  # of every query


class Smoothed(Wrapped):
    """Answers the logarithm of the mean probability; the noise is the same at the same place in a batch."""

    def __init__(self, inner: Classifier, sigma: float) -> None:
        super().__init__(inner)
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        rng = seeds.generator(0, "smoothing")
        answers = [self.inner(noise(x, self.sigma, rng)).softmax(dim=1) for _ in range(COPIES)]
        return torch.stack(answers).mean(dim=0).clamp_min(1e-12).log()


class RandomisedSmoothing(Removal):
    """At query time; the model itself stays."""

    unit, usual, grid = "sigma of pixel values in [0, 1]", 0.1, (0.05, 0.1, 0.25)
    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return Smoothed(model, strength)


REMOVALS.register("randomised_smoothing")(RandomisedSmoothing())
