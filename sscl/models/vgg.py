"""VGG-16 and VGG-19 with batch normalisation and one linear layer, the usual form for small images."""

from __future__ import annotations

from torch import nn

from sscl.models.base import CLASSIFIERS

MIN_SIZE = 32  # five halvings; smaller images are zero-padded (MNIST: 28)


def _small_vgg(letter: str, channels: int, size: int, *, classes: int, narrower: int = 1) -> nn.Module:
    from torchvision.models.vgg import cfgs, make_layers

    widths = [layer if isinstance(layer, str) else layer // narrower for layer in cfgs[letter]]
    features = make_layers(widths, batch_norm=True)
    features[0] = nn.Conv2d(channels, 64 // narrower, 3, padding=1)
    missing = max(0, MIN_SIZE - size)
    before, after = missing // 2, missing - missing // 2
    pad = nn.ZeroPad2d((before, after, before, after))
    return nn.Sequential(pad, features, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(512 // narrower, classes))


@CLASSIFIERS.register("vgg16")
def vgg16(channels: int, size: int, classes: int) -> nn.Module:
    """torchvision's VGG-16 layers (Simonyan and Zisserman 2015, configuration D)."""
    return _small_vgg("D", channels, size, classes=classes)


@CLASSIFIERS.register("vgg19")
def vgg19(channels: int, size: int, classes: int) -> nn.Module:
    """torchvision's VGG-19 layers (Simonyan and Zisserman 2015, configuration E)."""
    return _small_vgg("E", channels, size, classes=classes)


@CLASSIFIERS.register("vgg16_narrow")
def vgg16_narrow(channels: int, size: int, classes: int) -> nn.Module:
    """VGG-16 at an eighth of its width, for CPUs."""
    return _small_vgg("D", channels, size, classes=classes, narrower=8)


@CLASSIFIERS.register("vgg19_narrow")
def vgg19_narrow(channels: int, size: int, classes: int) -> nn.Module:
    """VGG-19 at an eighth of its width, for CPUs."""
    return _small_vgg("E", channels, size, classes=classes, narrower=8)
