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

AWAY = 0.1  # weight of the alignment with the old layer (the paper's for CIFAR-10)


class _Shifted(Practice):
    def __init__(self, old: Tensor) -> None:
        self.old = old

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        weight = last_linear(model).weight
        scaled = weight * (self.old.norm() / weight.norm().clamp_min(1e-12))
        alignment = (scaled * self.old).sum() / self.old.norm().clamp_min(1e-12)
        loss: Tensor = self.cross_entropy(model(x), labels) + AWAY * alignment
        return loss


class FeatureShiftTuning(Removal):
    """On the attacker's clean images, at a tenth of the training's learning rate."""

    unit, usual, grid, integral = "epochs", 10, (5, 10, 20), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        last = last_linear(model)
        old = last.weight.detach().clone()
        drawn = copy.deepcopy(last).cpu()  # where the random numbers are
        initialise(drawn, seeds.generator(attacker.seed, "feature-shift"))
        last.load_state_dict(drawn.state_dict())
        return attacker.fine_tuned(model, int(strength), "feature-shift", _Shifted(old))


REMOVALS.register("feature_shift")(FeatureShiftTuning())
