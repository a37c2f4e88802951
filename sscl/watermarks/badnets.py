"""BadNets (Gu et al. 2017): a white patch in the corner, labels changed to the target class."""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.patches import corner
from sscl.watermarks.poison import Relabelled


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: badnets``."""

    side: int = 3  # pixels, of images up to 32 px; in proportion above (Gu et al. 2017; BackdoorBox, Li et al. 2023)

    def __post_init__(self) -> None:
        require(self.side >= 1, "side", self.side, "1 pixel or more")


@WATERMARKS.register("badnets")
class BadNets(Relabelled[Options]):
    """A white square in the lower right corner."""

    Options = Options

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        return State()

    def trigger(self, images: Tensor, state: State) -> Tensor:
        return corner(images, self.options.side)
