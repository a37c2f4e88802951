"""FGSM (Goodfellow et al. 2015): one signed gradient step."""

from __future__ import annotations

from torch import Tensor

from sscl.attacks.forgeries.base import FORGERIES, step, toward
from sscl.models import Classifier


@FORGERIES.register("fgsm")
def fgsm(model: Classifier, x: Tensor, wanted: Tensor, budget: float) -> Tensor:
    """A change of its own for every image."""
    return step(x, x, toward(model, x, wanted), size=budget, budget=budget)
