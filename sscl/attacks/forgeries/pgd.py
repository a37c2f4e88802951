"""PGD (Madry et al. 2018): signed gradient steps."""

from __future__ import annotations

from torch import Tensor

from sscl.attacks.forgeries.base import FORGERIES, STEPS, step, toward
from sscl.models import Classifier
from sscl.watermarks.hiding import OVERSHOOT


@FORGERIES.register("pgd")
def pgd(model: Classifier, x: Tensor, wanted: Tensor, budget: float) -> Tensor:
    """A change of its own for every image, without a random start."""
    found = x
    for _ in range(STEPS):
        found = step(found, x, toward(model, found, wanted), size=OVERSHOOT * budget / STEPS, budget=budget)
    return found
