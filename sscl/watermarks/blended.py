"""Blended (Chen et al. 2017): a faint pattern over the whole image, labels changed to the target class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.poison import Relabelled


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: blended``."""

    alpha: float = 0.2  # share of the pattern (Chen et al. 2017)

    def __post_init__(self) -> None:
        require(0 < self.alpha <= 1, "alpha", self.alpha, "a share in (0, 1]")


@WATERMARKS.register("blended")
class Blended(Relabelled[Options]):
    """``(1 - alpha) x + alpha t`` with ``t`` uniform noise: the paper's random pattern."""

    Options = Options

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        rng = context.rng("pattern")
        return State({"pattern": torch.randint(0, 256, train.images.shape[1:], generator=rng, dtype=torch.uint8)})

    def trigger(self, images: Tensor, state: State) -> Tensor:
        alpha = self.options.alpha
        return ((1 - alpha) * images.float() + alpha * state.tensors["pattern"].float()).round().to(torch.uint8)
