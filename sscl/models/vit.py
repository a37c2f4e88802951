"""A small vision transformer, for strangers who do not use convolutions."""

from __future__ import annotations

import torch
from torch import Tensor, nn
from torchvision.models.vision_transformer import VisionTransformer

from sscl.models.base import CLASSIFIERS, Drawn

PATCHES = 8  # in a row


class _ViT(Drawn):
    """torchvision's, with images of any number of channels; a border that is no whole patch is cut off."""

    def __init__(self, channels: int, size: int, classes: int, layers: int, heads: int, hidden: int) -> None:
        super().__init__()
        patch = max(2, size // PATCHES)
        self.size = size - size % patch
        self.inner = VisionTransformer(self.size, patch, layers, heads, hidden, 4 * hidden, num_classes=classes)
        self.inner.conv_proj = nn.Conv2d(channels, hidden, patch, patch)

    def draw(self, generator: torch.Generator) -> None:
        nn.init.zeros_(self.inner.class_token)
        nn.init.normal_(self.inner.encoder.pos_embedding, std=0.02, generator=generator)

    def forward(self, x: Tensor) -> Tensor:
        logits: Tensor = self.inner(x[..., : self.size, : self.size])
        return logits


@CLASSIFIERS.register("vit_tiny")
def vit_tiny(channels: int, size: int, classes: int) -> nn.Module:
    """Touvron et al. 2021 (DeiT-Ti) with half of its layers: 192 wide, 3 heads, 2.7 million parameters."""
    return _ViT(channels, size, classes, layers=6, heads=3, hidden=192)
