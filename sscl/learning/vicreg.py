"""VICReg (Bardes et al. 2022): equal projections of two views, kept apart by variance and covariance terms."""

from __future__ import annotations

from torch import Tensor, nn

from sscl.compute import in_full_precision
from sscl.learning.base import LEARNERS, Learner
from sscl.models import Classifier

HIDDEN, OUTPUT = 512, 512  # the paper's 8,192 is for ImageNet


@LEARNERS.register("vicreg")
class VICReg(Learner):
    """Variance, invariance, covariance."""

    def build(self, features: int) -> dict[str, nn.Module]:
        from lightly.models.modules.heads import VICRegProjectionHead

        return {"projection": VICRegProjectionHead(features, HIDDEN, OUTPUT)}

    def loss(self, encoder: Classifier, first: Tensor, second: Tensor) -> Tensor:
        from lightly.loss import VICRegLoss

        return in_full_precision(VICRegLoss(), self.embed(encoder, first), self.embed(encoder, second))
