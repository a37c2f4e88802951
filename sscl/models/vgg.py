"""VGG-16 and VGG-19 with batch normalisation and one linear layer, the usual form for small images."""

from __future__ import annotations

from torch import nn
from torchvision.models.vgg import cfgs, make_layers

from sscl.models.base import CLASSIFIERS


def _small_vgg(letter: str, channels: int, classes: int) -> nn.Module:
    features = make_layers(cfgs[letter], batch_norm=True)
    features[0] = nn.Conv2d(channels, 64, 3, padding=1)
    return nn.Sequential(features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512, classes))


@CLASSIFIERS.register("vgg16")
def vgg16(channels: int, size: int, classes: int) -> nn.Module:
    """torchvision's VGG-16 layers (Simonyan and Zisserman 2015, configuration D)."""
    return _small_vgg("D", channels, classes)


@CLASSIFIERS.register("vgg19")
def vgg19(channels: int, size: int, classes: int) -> nn.Module:
    """torchvision's VGG-19 layers (Simonyan and Zisserman 2015, configuration E)."""
    return _small_vgg("E", channels, classes)
