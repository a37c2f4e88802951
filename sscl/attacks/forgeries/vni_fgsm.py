"""VNI-FGSM (Wang and He 2021): momentum that looks ahead, and gradients averaged over the neighbourhood."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl import seeds
from sscl.attacks.forgeries.base import FORGERIES, STEPS, step, toward
from sscl.models import Classifier
from sscl.watermarks.hiding import OVERSHOOT

MOMENTUM, NEIGHBOURS, REACH = 1.0, 5, 1.5  # the paper's, with 5 neighbours instead of 20


@FORGERIES.register("vni_fgsm")
def vni_fgsm(model: Classifier, x: Tensor, wanted: Tensor, budget: float) -> Tensor:
    """A change of its own for every image; the neighbours are the same each time."""
    rng = seeds.generator(0, "vni-fgsm")
    size = OVERSHOOT * budget / STEPS
    found, momentum, variance = x, torch.zeros_like(x), torch.zeros_like(x)
    for _ in range(STEPS):
        ahead = (found + size * MOMENTUM * momentum).clamp(0, 1)
        gradient = toward(model, ahead, wanted)
        near = torch.zeros_like(x)
        for _ in range(NEIGHBOURS):
            drawn = (2 * torch.rand(x.shape, generator=rng) - 1).to(x) * REACH * budget
            near += toward(model, (found + drawn).clamp(0, 1), wanted) / NEIGHBOURS
        tuned = gradient + variance
        momentum = MOMENTUM * momentum + tuned / tuned.abs().mean(dim=(1, 2, 3), keepdim=True).clamp_min(1e-12)
        variance = near - gradient
        found = step(found, x, momentum, size=size, budget=budget)
    return found
