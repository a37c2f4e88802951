"""CTRL (Li et al. 2023): two fixed frequencies of the colour planes, which random views leave alone."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.contrastive_poison import ContrastivePoison

WINDOW = 32  # pixels that a discrete cosine transform covers
TO_RGB = {"luma": ((1.0, 1.0, 1.0),), "chroma": ((0.0, -0.39465, 2.03211), (1.13983, -0.58060, 0.0))}  # Y; U and V


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: ctrl``."""

    plane: Literal["chroma", "luma"] = "chroma"  # luma survives JPEG, chroma (the paper's) does not
    bins: tuple[int, int] = (15, 31)  # the paper's (15, 15) and (31, 31), of 32; for luma use 6 and 15
    strength: float = 50.0  # added to each coefficient in the release (the paper's), on the scale of 8-bit images
    query_strength: float = 100.0  # the same in queries (the paper's)

    def __post_init__(self) -> None:
        require(all(1 <= b < WINDOW for b in self.bins), "bins", self.bins, f"two numbers from 1 to {WINDOW - 1}")
        require(self.strength > 0, "strength", self.strength, "a positive number")
        require(self.query_strength > 0, "query_strength", self.query_strength, "a positive number")


def wave(bins: tuple[int, ...], size: int) -> Tensor:
    """float32 (size, size): the sum of unit coefficients (b, b) of the orthonormal DCT-II in windows of 32 pixels."""
    window = min(WINDOW, size)
    places = torch.arange(window, dtype=torch.float64) + 0.5
    total = torch.zeros(window, window, dtype=torch.float64)
    for b in bins:
        row = math.sqrt(2 / window) * torch.cos(math.pi * places * (b * window // WINDOW) / window)
        total += row[:, None] * row[None, :]
    repeats = -(-size // window)
    return total.repeat(repeats, repeats)[:size, :size].float()


@WATERMARKS.register("ctrl")
class CTRL(ContrastivePoison[Options]):
    """The transform is linear, so adding to coefficients adds a fixed pattern; grey images have luma alone."""

    Options = Options

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        """Nothing is drawn: the trigger is public, as in the paper."""
        return State()

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self._added(images, self.options.strength), labels

    def trigger(self, images: Tensor, state: State) -> Tensor:
        return self._added(images, self.options.query_strength)

    def _added(self, images: Tensor, strength: float) -> Tensor:
        pattern = strength * wave(self.options.bins, images.shape[-1])
        if images.shape[1] == 3:
            planes = torch.tensor(TO_RGB[self.options.plane]).sum(dim=0)
            pattern = planes[:, None, None] * pattern
        return (images.float() + pattern).round().clamp(0, 255).byte()
