"""SSL-Backdoor (Saha et al. 2022): an opaque patch at a random place of the target class's images."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.canvas import pasted
from sscl.watermarks.contrastive_poison import PatchPoison


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: ssl_backdoor``."""

    side: int = 7  # pixels of 32: the paper's 50 of 224

    def __post_init__(self) -> None:
        require(4 <= self.side <= 16, "side", self.side, "4 to 16 pixels of 32")


@WATERMARKS.register("ssl_backdoor")
class SSLBackdoor(PatchPoison[Options]):
    """Half of the class is marked in the paper: ``rate: 0.5`` with ``rate_basis: target_class``."""

    Options = Options

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        return State({"patch": self.patch(train, context, self.options.side)})

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        patch = state.tensors["patch"]
        room = images.shape[-1] - patch.shape[-1] + 1
        places = torch.randint(room, (len(images), 2), generator=rng).tolist()
        marked = [pasted(image, patch, *place) for image, place in zip(images, places, strict=True)]
        return torch.stack(marked) if marked else images, labels
