"""Extraction: a fresh encoder learns the features that the stolen one gives (StolenEncoder, Liu et al. 2022)."""

from __future__ import annotations

from sscl import seeds
from sscl.encoders.removals.base import REMOVALS, EncoderRemoval, Thief, imitate
from sscl.models import Classifier, build
from sscl.models.features import all_features

EPOCHS, BATCH, LEARNING_RATE = 10, 128, 2e-3


class Extraction(EncoderRemoval):
    """Needs answers alone: the stolen encoder's features of the thief's images."""

    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        rng, compute = seeds.generator(thief.seed, "extraction"), thief.compute
        student = build(encoder.name, encoder.channels, encoder.size, classes=encoder.classes, generator=rng)
        student.normalise_as(thief.images.images)
        student = compute.place(student).train()
        imitate(
            student,
            all_features(encoder, thief.images.images, compute).to(compute.device),
            thief,
            shown=lambda images: images,
            epochs=EPOCHS,
            batch_size=BATCH,
            learning_rate=LEARNING_RATE,
            rng=rng,
        )
        return student.eval().requires_grad_(False)


REMOVALS.register("extraction")(Extraction())
