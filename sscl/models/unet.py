"""The watermark generator G: a small U-Net for images of any size from 8 px."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl.models.base import made


def _block(inputs: int, outputs: int) -> nn.Module:
    return nn.Sequential(
        nn.Conv2d(inputs, outputs, 3, padding=1),
        nn.GroupNorm(4, outputs),
        nn.ReLU(inplace=True),
        nn.Conv2d(outputs, outputs, 3, padding=1),
        nn.GroupNorm(4, outputs),
        nn.ReLU(inplace=True),
    )


class UNet(nn.Module):
    """U-Net (Ronneberger et al. 2015) with two poolings; group normalisation keeps each image's mark its own.

    Args:
        channels: channels of the input.
        width: channels of the first level, a multiple of 4.

    Shape: float (N, channels, H, W) in [0, 1] -> the same, unbounded (the caller applies tanh).
    """

    def __init__(self, channels: int, width: int) -> None:
        super().__init__()
        self.down1 = _block(channels, width)
        self.down2 = _block(width, 2 * width)
        self.middle = _block(2 * width, 4 * width)
        self.up2 = _block(6 * width, 2 * width)
        self.up1 = _block(3 * width, width)
        self.out = nn.Conv2d(width, channels, 1)

    def forward(self, x: Tensor) -> Tensor:
        a = self.down1(x * 2 - 1)  # (N, w, H, W)
        b = self.down2(F.max_pool2d(a, 2))  # (N, 2w, H/2, W/2)
        c = self.middle(F.max_pool2d(b, 2))  # (N, 4w, H/4, W/4)
        c = F.interpolate(c, size=b.shape[-2:], mode="nearest")  # odd sizes: up to the skip's own size
        b = self.up2(torch.cat((b, c), dim=1))
        b = F.interpolate(b, size=a.shape[-2:], mode="nearest")
        result: Tensor = self.out(self.up1(torch.cat((a, b), dim=1)))
        return result


def build_unet(channels: int, width: int, generator: torch.Generator | None = None) -> UNet:
    """A U-Net whose initial weights come from ``generator`` alone (``None``: weights are about to be loaded)."""
    return made(lambda: UNet(channels, width), generator or torch.Generator().manual_seed(0))
