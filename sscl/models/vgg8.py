"""A narrow VGG for CPUs: the family's stacked 3x3 convolutions and max pooling at a twentieth of the width."""

from __future__ import annotations

from torch import nn

from sscl.models.base import CLASSIFIERS


@CLASSIFIERS.register("vgg8")
def vgg8(channels: int, size: int, classes: int) -> nn.Module:
    """Six convolutions of 12, 24 and 48 channels, batch-normalised (after Simonyan and Zisserman 2015)."""
    from torchvision.models.vgg import make_layers

    features = make_layers([12, 12, "M", 24, 24, "M", 48, 48, "M"], batch_norm=True)
    features[0] = nn.Conv2d(channels, 12, 3, padding=1)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(48, classes))
