"""UBW-C (Li et al. 2022): clean-label gradient matching away from the true class, toward uncertainty."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.config import require
from sscl.watermarks import gradient_matching
from sscl.watermarks.base import WATERMARKS
from sscl.watermarks.gradient_matching import GradientMatching


@dataclass(frozen=True)
class Options(gradient_matching.Options):
    """``generator`` section for ``method: ubw_c``."""

    beta: float = 2.0  # weight of the answers' entropy (Li et al. 2022)

    def __post_init__(self) -> None:
        super().__post_init__()
        require(self.beta >= 0, "beta", self.beta, "0 or more")


@WATERMARKS.register("ubw_c")
class UBWC(GradientMatching[Options]):
    """Training on the marked images raises the patched ones' loss and entropy: goal ``-(CE + beta H)``."""

    Options = Options
    targeted: ClassVar[bool] = False

    def candidates(self, labels: Tensor) -> Tensor:
        return torch.arange(len(labels))

    def sources(self, labels: Tensor) -> Tensor:
        return torch.arange(len(labels))

    def goal(self, logits: Tensor, labels: Tensor) -> Tensor:
        likelihood = logits.log_softmax(dim=1)
        entropy = -(likelihood.exp() * likelihood).sum(dim=1).mean()
        goal: Tensor = F.cross_entropy(logits, labels) + self.options.beta * entropy
        return -goal
