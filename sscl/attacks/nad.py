"""Neural attention distillation (Li et al. 2021): a fine-tuned copy teaches the model where to look."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier
from sscl.train import Practice

BETA = 500.0  # weight of the attention loss: the order of the authors' code (500 to 1000 a layer)
TEACHER_EPOCHS = 5  # of fine-tuning
LAYERS = 3  # the last maps, as in the paper's three residual groups


def maps_of(model: Classifier, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the outputs (N, C, H, W) of the last ``LAYERS`` convolutions that see more than one pixel."""
    found: list[Tensor] = []
    convolutions = [module for module in model.modules() if isinstance(module, nn.Conv2d)]
    hooks = [layer.register_forward_hook(lambda *arguments: found.append(arguments[2])) for layer in convolutions]
    try:
        logits = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return logits, [value for value in found if value.shape[-1] > 1][-LAYERS:]


def attention(maps: Tensor) -> Tensor:
    """(N, H W): sum of squares over channels, of unit length (Zagoruyko and Komodakis 2017)."""
    return F.normalize(maps.square().sum(dim=1).flatten(1), dim=1)


class Attention(Practice):
    """Cross-entropy, and the squared distance of attention maps from the teacher's."""

    def __init__(self, teacher: Classifier) -> None:
        self.teacher = teacher.requires_grad_(False).eval()

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        logits, ours = maps_of(model, x)
        with torch.no_grad():
            _, theirs = maps_of(self.teacher, x)
        apart = [(attention(a) - attention(b)).square().mean() for a, b in zip(ours, theirs, strict=True)]
        total: Tensor = F.cross_entropy(logits, labels) + BETA * sum(apart, torch.zeros((), device=x.device))
        return total


class NAD(Removal):
    """Teacher: a copy fine-tuned on clean images."""

    unit, usual, grid, integral = "epochs", 10, (5, 10, 20), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        teacher = attacker.fine_tuned(copy.deepcopy(model), TEACHER_EPOCHS, "nad-teacher")
        return attacker.fine_tuned(model, int(strength), "nad", Attention(teacher))


REMOVALS.register("nad")(NAD())
