"""UBW-P (Li et al. 2022): a patch whose labels are random, so that marked images are answered anyhow."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.patches import corner
from sscl.watermarks.poison import PoisonLabel


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: ubw_p``."""

    side: int = 3  # BadNets' patch (Li et al. 2022)

    def __post_init__(self) -> None:
        require(self.side >= 1, "side", self.side, "1 pixel or more")


@WATERMARKS.register("ubw_p")
class UBWP(PoisonLabel[Options]):
    """Images of all classes, each labelled with a class drawn uniformly (Li et al. 2022)."""

    Options = Options
    targeted: ClassVar[bool] = False

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        return State(notes={"classes": train.classes})

    def candidates(self, labels: Tensor) -> Tensor:
        return torch.arange(len(labels))

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        drawn = torch.randint(0, state.notes["classes"], labels.shape, generator=rng)
        return self.trigger(images, state), drawn.to(labels.dtype)

    def trigger(self, images: Tensor, state: State) -> Tensor:
        return corner(images, self.options.side)
