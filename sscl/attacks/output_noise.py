"""Noise on answers: what an API may add before it tells probabilities."""

from __future__ import annotations

from torch import Tensor

from sscl.attacks.base import REMOVALS, Attacker, Removal, Wrapped
from sscl.attacks.noise import drawn
from sscl.models import Classifier


class Noisy(Wrapped):
    """Logits under Gaussian noise."""

    def __init__(self, inner: Classifier, sigma: float) -> None:
        super().__init__(inner)
        self.sigma = sigma

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits + self.sigma * drawn(x, logits.shape[1:], "output noise").to(logits.dtype)


class OutputNoise(Removal):
    """At query time; accuracy falls where the model is unsure."""

    unit, usual, grid = "sigma of logits", 1.0, (0.5, 1.0, 2.0)
    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return Noisy(model, strength)


REMOVALS.register("output_noise")(OutputNoise())
