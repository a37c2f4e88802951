"""Hide an image's natural evidence from classifiers, so that a model trained on it must lean on something else."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.models import Classifier

OVERSHOOT = 2.5  # the steps together may cover this many times the budget, as in Madry et al. 2018


def pgd(x: Tensor, labels: Tensor, models: list[Classifier], *, budget: float, steps: int, step_size: float) -> Tensor:
    """Untargeted PGD against the models' mean answer, as in label-consistent attacks (Turner et al. 2019).

    Args:
        x: float (N, C, H, W) in [0, 1].
        labels: int64 (N,), the classes whose evidence goes.
        models: frozen classifiers.
        budget: largest change of a pixel; steps, step_size: of the signed-gradient ascent. No random start.

    Returns:
        The change, float (N, C, H, W) in [-budget, budget].
    """
    change = torch.zeros_like(x)
    for _ in range(steps):
        change.requires_grad_(True)
        seen = (x + change).clamp(0, 1)
        likelihood = torch.stack([model(seen).float().softmax(dim=1) for model in models]).mean(dim=0)
        loss = F.nll_loss(likelihood.clamp_min(1e-12).log(), labels, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, change)
        change = (change.detach() + step_size * gradient.sign()).clamp(-budget, budget)
    return change.detach()
