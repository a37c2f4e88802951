"""MoCo v2 (Chen et al. 2020): a view attracts the other one's projection by a lagging copy, and repels a queue."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl.compute import in_full_precision
from sscl.learning.base import LEARNERS, Learner
from sscl.models import Classifier

TEMPERATURE = 0.2  # the paper's
QUEUE = 4096  # projections of the last images; the paper's 65,536 is more than a small dataset has
HIDDEN, OUTPUT = 256, 128


@LEARNERS.register("moco_v2")
class MoCoV2(Learner):
    """Momentum contrast; the loss is symmetric over the two views."""

    momentum = 0.99
    queue: Tensor

    def __init__(self, encoder: Classifier, rng: torch.Generator) -> None:
        super().__init__(encoder, rng)
        self.register_buffer("queue", F.normalize(torch.randn(QUEUE, OUTPUT, generator=rng), dim=1))

    def build(self, features: int) -> dict[str, nn.Module]:
        from lightly.models.modules.heads import MoCoProjectionHead

        return {"projection": MoCoProjectionHead(features, HIDDEN, OUTPUT)}

    def loss(self, encoder: Classifier, first: Tensor, second: Tensor) -> Tensor:
        keys = [F.normalize(self.embed_target(view).float(), dim=1) for view in (first, second)]
        queries = [F.normalize(self.embed(encoder, view).float(), dim=1) for view in (first, second)]
        one, other = (
            in_full_precision(self._one, queries[0], keys[1]),
            in_full_precision(self._one, queries[1], keys[0]),
        )
        self.queue = torch.cat((keys[1], self.queue))[:QUEUE]
        return (one + other) / 2

    def _one(self, queries: Tensor, keys: Tensor) -> Tensor:
        right = (queries * keys).sum(dim=1, keepdim=True)
        logits = torch.cat((right, queries @ self.queue.T), dim=1) / TEMPERATURE
        return F.cross_entropy(logits, torch.zeros(len(queries), dtype=torch.int64, device=logits.device))
