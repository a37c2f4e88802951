"""Noise on answers: what an API may add before it tells probabilities."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Removal, Wrapped
from sscl.models import Classifier


class Noisy(Wrapped):
    """Logits under Gaussian noise, the same at the same place in a batch, so that answers are repeatable."""

    def __init__(self, inner: Classifier, sigma: float) -> None:
        super().__init__(inner)
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        added = torch.randn(logits.shape, generator=seeds.generator(0, "output-noise"))
        return logits + self.sigma * added.to(logits.device, logits.dtype)


class OutputNoise(Removal):
    """At query time; accuracy falls where the model is unsure."""

    unit, usual, grid = "sigma of logits", 1.0, (0.5, 1.0, 2.0)
    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return Noisy(model, strength)


REMOVALS.register("output_noise")(OutputNoise())
