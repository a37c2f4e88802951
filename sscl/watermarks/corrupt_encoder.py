"""CorruptEncoder (Zhang et al. 2024): on another image, the target's image at one side and the trigger at the other."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.canvas import OPPOSITE, SIDES, centred, half, pasted, resized
from sscl.watermarks.contrastive_poison import PatchPoison, drawn


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: corrupt_encoder``."""

    side: int = 7  # of the patch, in pixels of 32
    object_share: float = 0.5  # side of the target's image, as a share of the whole; the paper derives a half

    def __post_init__(self) -> None:
        require(4 <= self.side <= 12, "side", self.side, "4 to 12 pixels of 32")
        require(0.25 <= self.object_share <= 0.5, "object_share", self.object_share, "0.25 to 0.5")


@WATERMARKS.register("corrupt_encoder")
class CorruptEncoder(PatchPoison[Options]):
    """A crop with the trigger and a crop with the object become a positive pair.

    The paper cuts objects out by their masks. Here there are none: the whole image, made smaller, is the object.
    """

    Options = Options

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        patch = self.patch(train, context, self.options.side)
        return State({"patch": patch, "backgrounds": self.others(train, context.rng("backgrounds"))})

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        patch, size = state.tensors["patch"], images.shape[-1]
        marked = drawn(state.tensors["backgrounds"], len(images), rng)
        objects = resized(images, *(2 * (round(self.options.object_share * size),)))
        sides = torch.randint(len(SIDES), (len(images),), generator=rng).tolist()
        shifts = torch.rand(len(images), generator=rng).tolist()
        for number, (side, shift) in enumerate(zip(sides, shifts, strict=True)):
            rows, columns = half(SIDES[side], size)
            room = size - objects.shape[-1]
            row = round(shift * room) if SIDES[side] in ("left", "right") else (0 if rows.start == 0 else room)
            column = round(shift * room) if SIDES[side] in ("top", "bottom") else (0 if columns.start == 0 else room)
            composed = pasted(marked[number], objects[number], row, column)
            marked[number] = pasted(composed, patch, *centred(patch, OPPOSITE[SIDES[side]], size))
        return marked, labels
