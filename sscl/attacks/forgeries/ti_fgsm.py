"""TI-FGSM (Dong et al. 2019): gradients blurred, as if the image had been shifted; such changes transfer better."""

from __future__ import annotations

from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from sscl.attacks.forgeries.base import FORGERIES, STEPS, step, toward
from sscl.models import Classifier
from sscl.watermarks.hiding import OVERSHOOT

KERNEL, SIGMA = 5, 1.5  # the paper's 15 px are for 299 px


@FORGERIES.register("ti_fgsm")
def ti_fgsm(model: Classifier, x: Tensor, wanted: Tensor, budget: float) -> Tensor:
    """A change of its own for every image."""
    found = x
    for _ in range(STEPS):
        gradient = gaussian_blur(toward(model, found, wanted), [KERNEL, KERNEL], [SIGMA, SIGMA])
        found = step(found, x, gradient, size=OVERSHOOT * budget / STEPS, budget=budget)
    return found
