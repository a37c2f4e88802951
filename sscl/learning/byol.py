"""BYOL (Grill et al. 2020): a predictor maps each view's projection to the other's by a lagging copy."""

from __future__ import annotations

from torch import Tensor, nn

from sscl.compute import in_full_precision
from sscl.learning.base import LEARNERS, Learner
from sscl.models import Classifier

HIDDEN, OUTPUT = 512, 128


@LEARNERS.register("byol")
class BYOL(Learner):
    """Bootstrap your own latent; no negatives."""

    momentum = 0.99

    def build(self, features: int) -> dict[str, nn.Module]:
        from lightly.models.modules.heads import BYOLPredictionHead, BYOLProjectionHead

        return {
            "projection": BYOLProjectionHead(features, HIDDEN, OUTPUT),
            "prediction": BYOLPredictionHead(OUTPUT, HIDDEN, OUTPUT),
        }

    def loss(self, encoder: Classifier, first: Tensor, second: Tensor) -> Tensor:
        from lightly.loss import NegativeCosineSimilarity

        distance, predict = NegativeCosineSimilarity(), self.heads["prediction"]
        one = in_full_precision(distance, predict(self.embed(encoder, first)), self.embed_target(second))
        other = in_full_precision(distance, predict(self.embed(encoder, second)), self.embed_target(first))
        found: Tensor = (one + other) / 2
        return found
