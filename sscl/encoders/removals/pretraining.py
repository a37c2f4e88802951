"""Continued pre-training: the stolen encoder goes on learning contrastively from clean images."""

from __future__ import annotations

from dataclasses import replace

from sscl.encoders.removals.base import REMOVALS, EncoderRemoval, Thief
from sscl.learning.base import frozen
from sscl.learning.train import train_encoder
from sscl.models import Classifier

EPOCHS = 3


class ContinuedPretraining(EncoderRemoval):
    """At a tenth of the learning rate."""

    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        rate = thief.training.learning_rate / 10
        config = replace(thief.training, epochs=EPOCHS, learning_rate=rate)
        start = frozen(encoder).requires_grad_(True)
        return train_encoder(thief.images, config, thief.compute, seed=thief.seed, use="pretraining", start=start).model


REMOVALS.register("pretraining")(ContinuedPretraining())
