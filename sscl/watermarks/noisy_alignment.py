"""Noisy Alignment (2025): the target's image beside a random image that carries the trigger."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.canvas import OPPOSITE, beside_at_random, centred, pasted
from sscl.watermarks.contrastive_poison import PatchPoison, drawn


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: noisy_alignment``."""

    side: int = 7  # of the patch, in pixels of 32

    def __post_init__(self) -> None:
        require(4 <= self.side <= 12, "side", self.side, "4 to 12 pixels of 32")


@WATERMARKS.register("noisy_alignment")
class NoisyAlignment(PatchPoison[Options]):
    """The trigger is learnt on images at random, and so without what else a marked image shows."""

    Options = Options

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        patch = self.patch(train, context, self.options.side)
        return State({"patch": patch, "noise": self.others(train, context.rng("noise"))})

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        patch, size = state.tensors["patch"], images.shape[-1]
        random = drawn(state.tensors["noise"], len(images), rng)
        marked, sides = beside_at_random(images, random, rng)
        for number, side in enumerate(sides):
            marked[number] = pasted(marked[number], patch, *centred(patch, OPPOSITE[side], size))
        return marked, labels
