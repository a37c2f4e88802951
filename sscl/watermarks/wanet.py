"""WaNet (Nguyen and Tran 2021): a smooth warp as the trigger, labels changed to the target class."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.poison import Relabelled


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: wanet``, without the paper's noise mode."""

    k: int = 4  # control points a side (Nguyen and Tran 2021)
    s: float = 0.5  # strength of the warp (the same); the mean shift is about half as many pixels

    def __post_init__(self) -> None:
        require(self.k >= 2, "k", self.k, "2 or more control points")
        require(self.s > 0, "s", self.s, "a positive strength")


def control_points(k: int, rng: torch.Generator) -> Tensor:
    """(1, 2, k, k): uniform in [-1, 1], divided by their mean size."""
    points = torch.rand(1, 2, k, k, generator=rng) * 2 - 1
    return points / points.abs().mean()


def warp_grid(control: Tensor, size: int, strength: float) -> Tensor:
    """(1, size, size, 2) of x and y in [-1, 1]: where each pixel is read from."""
    flow = F.interpolate(control, size=size, mode="bicubic", align_corners=True).permute(0, 2, 3, 1)
    axis = torch.linspace(-1, 1, size)
    identity = torch.stack((axis.expand(size, size), axis[:, None].expand(size, size)), dim=2)[None]
    return (identity + strength * flow / size).clamp(-1, 1)


def warp(images: Tensor, grid: Tensor) -> Tensor:
    """uint8 images read at the grid's places, bilinear."""
    found = F.grid_sample(images.float(), grid.expand(len(images), -1, -1, -1), align_corners=True)
    return found.round().clamp(0, 255).to(torch.uint8)


@WATERMARKS.register("wanet")
class WaNet(Relabelled[Options]):
    """One random warp for all images."""

    Options = Options

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        return State({"control": control_points(self.options.k, context.rng("warp"))})

    def trigger(self, images: Tensor, state: State) -> Tensor:
        return warp(images, warp_grid(state.tensors["control"], images.shape[-1], self.options.s))
