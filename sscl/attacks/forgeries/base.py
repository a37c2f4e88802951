"""What a forgery is: changes that push any model toward chosen classes, made against a clean model of the forger's."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.models import Classifier
from sscl.registry import Registry

# Frozen clean model, floats (N, C, H, W) in [0, 1], wanted classes int64 (N,), budget: to changed images in [0, 1].
Forgery = Callable[[Classifier, Tensor, Tensor, float], Tensor]
FORGERIES: Registry[Forgery] = Registry("forgery", "sscl.attacks.forgeries")
STEPS = 10  # of iterated forgeries; together they may cover ``OVERSHOOT`` budgets


def toward(model: Classifier, x: Tensor, wanted: Tensor) -> Tensor:
    """The gradient along which the wanted classes become likelier, as ``x``."""
    with torch.enable_grad():
        seen = x.detach().requires_grad_(True)
        loss = -F.cross_entropy(model(seen).float(), wanted, reduction="sum")
        (gradient,) = torch.autograd.grad(loss, seen)
    return gradient


def step(x: Tensor, original: Tensor, direction: Tensor, *, size: float, budget: float) -> Tensor:
    """A signed step that stays within the budget of the original images."""
    moved = x + size * direction.sign()
    return (original + (moved - original).clamp(-budget, budget)).clamp(0, 1)
