"""Stray marks: by a thief who knows the method, and lacks the owner's marks."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl import seeds
from sscl.encoders.removals.base import REMOVALS, EncoderRemoval, Thief, imitate
from sscl.learning.base import frozen
from sscl.models import Classifier
from sscl.watermarks.marks import FAMILIES
from sscl.watermarks.quantise import quantise

EPOCHS, BATCH, LEARNING_RATE = 5, 64, 3e-4


class StrayMarks(EncoderRemoval):
    """Images under random marks of the owner's family, and without one, are to keep the features they had without."""

    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        rng = seeds.generator(thief.seed, "stray marks")
        found = frozen(encoder).requires_grad_(True).eval()

        def shown(images: Tensor) -> Tensor:
            change = thief.strength * FAMILIES[thief.family].stray(images, rng)
            return torch.cat((images, quantise(images, images / 255 + change, thief.strength)))

        imitate(
            found,
            encoder,
            thief,
            shown=shown,
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            rng=rng,
        )
        return found.requires_grad_(False)


REMOVALS.register("stray_marks")(StrayMarks())
