"""Randomised smoothing (Cohen et al. 2019): every answer is the mean over noisy copies of the query."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl.attacks.base import REMOVALS, Attacker, Removal, Wrapped
from sscl.attacks.noise import drawn
from sscl.models import Classifier

COPIES = 16  # of every query
TOGETHER = 64  # queries whose noise is in memory at a time


class Smoothed(Wrapped):
    """Answers the logarithm of the mean probability."""

    def __init__(self, inner: Classifier, sigma: float) -> None:
        super().__init__(inner)
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        return torch.cat([self._answers(part) for part in torch.split(x, TOGETHER)])

    def _answers(self, x: Tensor) -> Tensor:
        added = self.sigma * drawn(x, (COPIES, *x.shape[1:]), "smoothing")
        answers = [self.inner((x + added[:, copy]).clamp(0, 1)).softmax(dim=1) for copy in range(COPIES)]
        return torch.stack(answers).mean(dim=0).clamp_min(1e-12).log()


class RandomisedSmoothing(Removal):
    """At query time; the model itself stays."""

    unit, usual, grid = "sigma of pixel values in [0, 1]", 0.1, (0.05, 0.1, 0.25)
    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return Smoothed(model, strength)


REMOVALS.register("randomised_smoothing")(RandomisedSmoothing())
