"""Extraction: a fresh encoder learns the features that the stolen one gives (StolenEncoder, Liu et al. 2022)."""

from __future__ import annotations

from sscl import seeds
from sscl.encoders.removals.base import REMOVALS, EncoderRemoval, Thief, imitate
from sscl.models import Classifier, build

EPOCHS, BATCH, LEARNING_RATE = 10, 128, 2e-3


class Extraction(EncoderRemoval):
    """Needs answers alone: the stolen encoder's features of the thief's images."""

    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        rng = seeds.generator(thief.seed, "extraction")
        student = build(encoder.name, encoder.channels, encoder.size, classes=encoder.classes, generator=rng)
        student.normalise_as(thief.images.images)
        student = thief.compute.place(student).train()
        imitate(
            student,
            encoder,
            thief,
            shown=lambda images: images,
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            rng=rng,
        )
        return student.eval().requires_grad_(False)


REMOVALS.register("extraction")(Extraction())
