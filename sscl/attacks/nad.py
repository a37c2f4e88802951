"""Neural attention distillation (Li et al. 2021): a fine-tuned copy teaches the model where to look."""

from __future__ import annotations

import copy

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.compute import uncompiled
from sscl.models import Classifier
from sscl.train import Practice

BETA = 500.0  # weight of the attention loss: the order of the authors' code (500 to 1000 a layer)
TEACHER_EPOCHS = 5  # of fine-tuning
LAYERS = 3  # one map a size: the outputs of the last three residual groups, as in the authors' code


def maps_of(model: Classifier, x: Tensor) -> tuple[Tensor, list[Tensor]]:
    """Logits, and the last output (N, C, H, W) at each of the ``LAYERS`` smallest sizes above one pixel."""
    found: dict[int, Tensor] = {}
    model = uncompiled(model)

    def keep(_: nn.Module, __: object, output: object) -> None:
        if isinstance(output, Tensor) and output.ndim == 4 and output.shape[-1] > 1:
            found[output.shape[-1]] = output

    hooks = [module.register_forward_hook(keep) for module in model.modules()]
    try:
        logits = model(x)
    finally:
        for hook in hooks:
            hook.remove()
    return logits, [found[size] for size in sorted(found)[:LAYERS]]


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
        total: Tensor = self.cross_entropy(logits, labels) + BETA * sum(apart, torch.zeros((), device=x.device))
        return total


class NAD(Removal):
    """Teacher: a copy fine-tuned on clean images."""

    unit, usual, grid, integral = "epochs", 10, (5, 10, 20), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        teacher = attacker.fine_tuned(copy.deepcopy(model), TEACHER_EPOCHS, "nad-teacher")
        return attacker.fine_tuned(model, int(strength), "nad", Attention(teacher))


REMOVALS.register("nad")(NAD())
