"""A universal perturbation (Moosavi-Dezfooli et al. 2017): one change for all images of a wanted class."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl.attacks.forgeries.base import FORGERIES, STEPS, toward
from sscl.models import Classifier
from sscl.watermarks.hiding import OVERSHOOT


@FORGERIES.register("uap")
def uap(model: Classifier, x: Tensor, wanted: Tensor, budget: float) -> Tensor:
    """By signed steps along the mean gradient, as in Shafahi et al. 2020."""
    found = x.clone()
    for group in sorted(set(wanted.tolist())):
        mine = wanted == group
        change = torch.zeros_like(x[:1])
        for _ in range(2 * STEPS):
            gradient = toward(model, (x[mine] + change).clamp(0, 1), wanted[mine]).mean(dim=0, keepdim=True)
            change = (change + OVERSHOOT * budget / (2 * STEPS) * gradient.sign()).clamp(-budget, budget)
        found[mine] = (x[mine] + change).clamp(0, 1)
    return found
