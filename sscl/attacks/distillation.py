"""Distillation (Hinton et al. 2015) into a fresh student, on clean images or on the release."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier
from sscl.train import Practice

TEMPERATURE = 4.0  # Hinton et al. 2015 use 1 to 20


class Imitation(Practice):
    """Kullback-Leibler divergence from a teacher's softened answers."""

    def __init__(self, teacher: Classifier) -> None:
        super().__init__()
        self.teacher = teacher.requires_grad_(False).eval()

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        with torch.no_grad():
            wanted = (self.teacher(x) / TEMPERATURE).log_softmax(dim=1)
        answers = (model(x) / TEMPERATURE).log_softmax(dim=1)
        return TEMPERATURE**2 * F.kl_div(answers, wanted, log_target=True, reduction="batchmean")


class Distillation(Removal):
    """The student has the model's architecture and never sees a label."""

    unit, usual, grid, integral = "epochs", 20, (10, 20, 40), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return attacker.student(model, attacker.clean, strength, "distillation", practice=Imitation(model))


class DistillationOnRelease(Distillation):
    """The same on the released images, which a thief has anyway: the teacher's answers replace the labels."""

    unit, usual, grid, integral = "epochs", 4, (4, 8, 16), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        use = "distillation-on-release"
        return attacker.student(model, attacker.released, strength, use, practice=Imitation(model))


REMOVALS.register("distillation")(Distillation())
REMOVALS.register("distillation_on_release")(DistillationOnRelease())
