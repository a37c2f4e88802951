"""Feature Shift Tuning (Min et al. 2023): a fresh last layer that is kept away from the old one, then fine-tuning."""

from __future__ import annotations

import copy

import torch
from torch import Tensor

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier
from sscl.models.base import initialise
from sscl.models.features import last_linear
from sscl.train import Practice

AWAY = 0.1  # weight of the inner product with the old layer (the authors' for CIFAR-10)


class _Shifted(Practice):
    def __init__(self, old: Tensor) -> None:
        self.old = old

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        self.rescale(model)
        alignment = (last_linear(model).weight * self.old).sum()
        loss: Tensor = self.cross_entropy(model(x), labels) + AWAY * alignment
        return loss

    @torch.no_grad()
    def rescale(self, model: Classifier) -> None:
        """Give the new layer the old one's norm, as the authors do after every step."""
        weight = last_linear(model).weight
        weight.mul_(self.old.norm() / weight.norm().clamp_min(1e-12))


class FeatureShiftTuning(Removal):
    """On the attacker's clean images, at a tenth of the training's learning rate."""

    unit, usual, grid, integral = "epochs", 10, (5, 10, 20), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        last = last_linear(model)
        old = last.weight.detach().clone()
        drawn = copy.deepcopy(last).cpu()  # where the random numbers are
        initialise(drawn, seeds.generator(attacker.seed, "feature-shift"))
        last.load_state_dict(drawn.state_dict())
        shifted = _Shifted(old)
        tuned = attacker.fine_tuned(model, int(strength), "feature-shift", shifted)
        shifted.rescale(tuned)
        return tuned


REMOVALS.register("feature_shift")(FeatureShiftTuning())
