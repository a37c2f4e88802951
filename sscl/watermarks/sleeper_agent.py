"""Sleeper Agent (Souri et al. 2022): clean-label gradient matching toward the target class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.watermarks.base import WATERMARKS
from sscl.watermarks.gradient_matching import GradientMatching, Options


@WATERMARKS.register("sleeper_agent")
class SleeperAgent(GradientMatching[Options]):
    """Training on the marked target images lowers the patched others' loss against ``y_t``."""

    def candidates(self, labels: Tensor) -> Tensor:
        return self.of_target(labels)

    def sources(self, labels: Tensor) -> Tensor:
        return torch.nonzero(labels != self.target_class).flatten()

    def goal(self, logits: Tensor, labels: Tensor) -> Tensor:
        return F.cross_entropy(logits, torch.full_like(labels, self.target_class))
