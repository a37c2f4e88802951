"""An attacker who knows the method but not the secret: marks of the same kind on training images, of any class.

A model that has seen many such marks on images of all classes has less reason to take one for a sign of a class.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sscl.attacks.base import REMOVALS
from sscl.attacks.training_filters import FilterTraining
from sscl.compute import pixels
from sscl.watermarks.marks import FAMILIES


def strayed(x: Tensor, eps: float, rng: torch.Generator) -> Tensor:
    """Each image under a mark of its own that is nobody's; floats (N, C, H, W) in [0, 1]."""
    family = FAMILIES["waves" if x.shape[1] == 3 else "ripples"]  # what the profiles use for photographs and digits
    change = family.stray(pixels(x), rng).to(x.device, x.dtype)
    return (x + eps * change).clamp(0, 1)


class StrayMarks(FilterTraining):
    """Half of the training images under stray marks."""

    unit, usual, grid = "eps of 255", 16.0, (8.0, 16.0, 64.0)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        return strayed(x, strength / 255, rng)


REMOVALS.register("train_stray_marks")(StrayMarks())
