"""Models that are trained as usual and served in another way."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sscl.attacks.base import Wrapped
from sscl.models import Classifier
from sscl.strangers.base import STRANGERS, Stranger, Workplace

SHIFTS = ((0, 0), (-1, 0), (1, 0), (0, -1), (0, 1))  # pixels
LEAST = 1e-12  # probability


class Shifted(Wrapped):
    """The logarithm of the mean probability over small shifts of the query, and their mirror images in colour."""

    def forward(self, x: Tensor) -> Tensor:
        views = [torch.roll(x, shift, dims=(2, 3)) for shift in SHIFTS]
        if self.channels == 3:
            views += [view.flip(3) for view in views]
        return torch.stack([self.inner(view).softmax(dim=1) for view in views]).mean(dim=0).clamp_min(LEAST).log()


class Together(Wrapped):
    """The logarithm of several models' mean probability."""

    def __init__(self, models: Sequence[Classifier]) -> None:
        super().__init__(models[0])
        self.models = nn.ModuleList(models)

    def forward(self, x: Tensor) -> Tensor:
        return torch.stack([model(x).softmax(dim=1) for model in self.models]).mean(dim=0).clamp_min(LEAST).log()


class AugmentedAnswers(Stranger):
    """Answers averaged over shifts and mirror images."""

    def model(self, workplace: Workplace) -> Classifier:
        return Shifted(workplace.usual).eval()


class Ensemble(Stranger):
    """The mean answer of one model on the release and two on images from elsewhere."""

    def model(self, workplace: Workplace) -> Classifier:
        others = [workplace.trained(workplace.others, f"stranger {number}") for number in (1, 2)]
        return Together([workplace.usual, *others]).eval()


STRANGERS.register("test_time_augmentation")(AugmentedAnswers())
STRANGERS.register("ensemble")(Ensemble())
