"""Barlow Twins (Zbontar et al. 2021): the cross-correlation of the two views' projections approaches the identity."""

from __future__ import annotations

from torch import Tensor, nn

from sscl.compute import in_full_precision
from sscl.learning.base import LEARNERS, Learner
from sscl.models import Classifier

HIDDEN, OUTPUT = 512, 512  # the paper's 8,192 is for ImageNet


@LEARNERS.register("barlow_twins")
class BarlowTwins(Learner):
    """Redundancy reduction."""

    def build(self, features: int) -> dict[str, nn.Module]:
        from lightly.models.modules.heads import BarlowTwinsProjectionHead

        return {"projection": BarlowTwinsProjectionHead(features, HIDDEN, OUTPUT)}

    def loss(self, encoder: Classifier, first: Tensor, second: Tensor) -> Tensor:
        from lightly.loss import BarlowTwinsLoss

        return in_full_precision(BarlowTwinsLoss(), self.embed(encoder, first), self.embed(encoder, second))
