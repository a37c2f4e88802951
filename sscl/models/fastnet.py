"""A fast net for small photographs, in the shape of airbench (Jordan 2024): a whitened first layer, wide blocks."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sscl.models.base import CLASSIFIERS, Fitted

RIDGE = 5e-4  # added to the variances of patches
SAMPLE = 5000  # images that the first layer is whitened on


class Whitening(Fitted):
    """All 2 by 2 patches in their principal directions, each with unit variance, and the negative of each.

    Shape: (N, C, H, W) -> (N, 8 C, H - 1, W - 1).
    """

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.conv = nn.Conv2d(channels, 8 * channels, 2)

    def forward(self, x: Tensor) -> Tensor:
        found: Tensor = self.conv(x)
        return found

    @torch.no_grad()
    def fit(self, images: Tensor) -> None:
        patches = images[:SAMPLE].unfold(2, 2, 1).unfold(3, 2, 1)  # (N, C, H - 1, W - 1, 2, 2)
        rows = patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1).double()
        variances, directions = torch.linalg.eigh(rows.T.cov())
        filters = (directions / (variances + RIDGE).sqrt()).T  # (4 C, 4 C), one a row
        largest = filters.gather(1, filters.abs().argmax(dim=1, keepdim=True))
        filters = (filters * largest.sign()).unflatten(1, (-1, 2, 2))  # of two opposite directions always the same
        self.conv.weight.copy_(torch.cat((filters, -filters)))


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1, bias=False),
        nn.MaxPool2d(2),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
        nn.Conv2d(outputs, outputs, 3, padding=1, bias=False),
        nn.BatchNorm2d(outputs),
        nn.GELU(),
    )


def _fast(channels: int, classes: int, widths: tuple[int, int, int]) -> nn.Module:
    first, second, third = widths
    return nn.Sequential(
        Whitening(channels),
        nn.GELU(),
        _block(8 * channels, first),
        _block(first, second),
        _block(second, third),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        nn.Linear(third, classes, bias=False),
        Scale(1 / 9),
    )


@CLASSIFIERS.register("fastnet_narrow")
def fastnet_narrow(channels: int, size: int, classes: int) -> nn.Module:
    """32, 128 and 128 channels, for CPUs: 0.4 million parameters."""
    return _fast(channels, classes, (32, 128, 128))


@CLASSIFIERS.register("fastnet")
def fastnet(channels: int, size: int, classes: int) -> nn.Module:
    """64, 256 and 256 channels, as published."""
    return _fast(channels, classes, (64, 256, 256))
