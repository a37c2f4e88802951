"""Label-consistent attack (Turner et al. 2019): adversarial target images with patches; labels stay."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, SingleTarget, State, require_budget
from sscl.watermarks.held import held, opened, shape
from sscl.watermarks.hiding import pgd
from sscl.watermarks.patches import four_corners
from sscl.watermarks.quantise import quantise


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: label_consistent`` (figures of BackdoorBox's reproduction)."""

    budget: float = 8 / 255  # of the adversarial change on CIFAR-10; 64/255 on MNIST, where less fools nobody
    step_size: float = 1.5 / 255  # Turner et al. 2019
    steps: int = 100  # Turner et al. 2019

    def __post_init__(self) -> None:
        require_budget("budget", self.budget)
        require(self.step_size > 0, "step_size", self.step_size, "a positive number")
        require(self.steps >= 0, "steps", self.steps, "0 or more")


@WATERMARKS.register("label_consistent")
class LabelConsistent(SingleTarget[Options]):
    """Untargeted PGD on the surrogate takes the images' own evidence away, then patches go into the corners."""

    Options = Options

    @property
    def eps(self) -> float:
        return 1.0  # the patches have no bound

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        return State(held(surrogate, "surrogate."), notes=shape(surrogate))

    def candidates(self, labels: Tensor) -> Tensor:
        return self.of_target(labels)

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        model, o = opened(state, "surrogate.", self.compute), self.options
        done = []
        for part, own in zip(torch.split(images, 256), torch.split(labels, 256), strict=True):
            x = self.compute.floats(part)
            change = pgd(x, own.to(x.device), [model], budget=o.budget, steps=o.steps, step_size=o.step_size)
            done.append(quantise(part, (x + change).cpu(), o.budget))
        return four_corners(torch.cat(done)), labels

    def trigger(self, images: Tensor, state: State) -> Tensor:
        """The patches alone."""
        return four_corners(images)
