"""Median filters on training images and on queries: they remove what is thinner than the window."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.attacks.base import REMOVALS
from sscl.attacks.query_filters import QueryFilter
from sscl.attacks.training_filters import FilterTraining

TOGETHER = 16  # images whose windows are in memory at a time


def median(x: Tensor, radius: int) -> Tensor:
    """Each pixel's median over a window of ``2 radius + 1``, borders reflected, for floats (N, C, H, W)."""
    side = 2 * radius + 1
    padded = F.pad(x, (radius,) * 4, mode="reflect")
    return torch.cat(
        [
            some.unfold(2, side, 1).unfold(3, side, 1).flatten(-2).median(dim=-1).values
            for some in torch.split(padded, TOGETHER)
        ]
    )


class MedianTraining(FilterTraining):
    """Half of the training images filtered."""

    unit, usual, grid, integral = "radius in pixels", 1, (1, 2), True

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        return median(x, int(strength))


class MedianQuery(QueryFilter):
    """Every query filtered."""

    unit, usual, grid, integral = "radius in pixels", 1, (1, 2), True

    def change(self, x: Tensor, strength: float) -> Tensor:
        return median(x, int(strength))


REMOVALS.register("train_median")(MedianTraining())
REMOVALS.register("query_median")(MedianQuery())
