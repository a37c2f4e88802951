"""SimSiam (Chen and He 2021): a predictor maps each view's projection to the other's, whose gradient is stopped."""

from __future__ import annotations

from torch import Tensor, nn

from sscl.compute import in_full_precision
from sscl.learning.base import LEARNERS, Learner
from sscl.models import Classifier

OUTPUT, BOTTLENECK = 256, 64


@LEARNERS.register("simsiam")
class SimSiam(Learner):
    """Simple siamese learning: neither negatives nor a lagging copy."""

    def build(self, features: int) -> dict[str, nn.Module]:
        from lightly.models.modules.heads import SimSiamPredictionHead, SimSiamProjectionHead

        return {
            "projection": SimSiamProjectionHead(features, OUTPUT, OUTPUT),
            "prediction": SimSiamPredictionHead(OUTPUT, BOTTLENECK, OUTPUT),
        }

    def loss(self, encoder: Classifier, first: Tensor, second: Tensor) -> Tensor:
        from lightly.loss import NegativeCosineSimilarity

        distance, predict = NegativeCosineSimilarity(), self.heads["prediction"]
        one, other = self.embed(encoder, first), self.embed(encoder, second)
        apart = in_full_precision(distance, predict(one), other.detach())
        return (apart + in_full_precision(distance, predict(other), one.detach())) / 2
