"""SimCLR (Chen et al. 2020): two views of an image attract each other and repel all other views of the batch."""

from __future__ import annotations

from torch import Tensor, nn

from sscl.compute import in_full_precision
from sscl.learning.base import LEARNERS, Learner
from sscl.models import Classifier

TEMPERATURE = 0.5  # the paper's for CIFAR-10 (appendix B.9)
HIDDEN, OUTPUT = 256, 128  # of the projection head


@LEARNERS.register("simclr")
class SimCLR(Learner):
    """Normalised temperature-scaled cross-entropy."""

    def build(self, features: int) -> dict[str, nn.Module]:
        from lightly.models.modules.heads import SimCLRProjectionHead

        return {"projection": SimCLRProjectionHead(features, HIDDEN, OUTPUT)}

    def loss(self, encoder: Classifier, first: Tensor, second: Tensor) -> Tensor:
        from lightly.loss import NTXentLoss

        return in_full_precision(NTXentLoss(TEMPERATURE), self.embed(encoder, first), self.embed(encoder, second))
