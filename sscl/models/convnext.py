"""ConvNeXt (Liu et al. 2022), for strangers with a network of this decade."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.convnext import CNBlock, CNBlockConfig, ConvNeXt

from sscl.config import require
from sscl.models.base import CLASSIFIERS, Drawn

LAYER_SCALE = 1e-6  # as published
SMALLEST = 16  # pixels: four times half as large is one


class _ConvNeXt(Drawn):
    """torchvision's, with images of any number of channels, and patches of 2 px where images are small."""

    def __init__(
        self, channels: int, size: int, classes: int, widths: tuple[int, ...], depths: tuple[int, ...]
    ) -> None:
        super().__init__()
        require(size >= SMALLEST, "model", "convnext_nano", f"images of {SMALLEST} pixels or more, not of {size}")
        after = (*widths[1:], None)
        settings = [CNBlockConfig(*setting) for setting in zip(widths, after, depths, strict=True)]
        self.inner = ConvNeXt(settings, layer_scale=LAYER_SCALE, num_classes=classes)
        patch = 4 if size >= 64 else 2
        self.inner.features[0][0] = nn.Conv2d(channels, widths[0], patch, patch)

    def draw(self, generator: torch.Generator) -> None:
        for module in self.modules():
            if isinstance(module, CNBlock):
                nn.init.constant_(module.layer_scale, LAYER_SCALE)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x)
        return logits


@CLASSIFIERS.register("convnext_nano")
def convnext_nano(channels: int, size: int, classes: int) -> nn.Module:
    """Wightman's widths and depths (80, 160, 320, 640; 2, 2, 8, 2); 15 million parameters."""
    return _ConvNeXt(channels, size, classes, (80, 160, 320, 640), (2, 2, 8, 2))
