"""ResNets with a small-image stem (3x3, stride 1, no pooling): ResNet-8 for CPUs, ResNet-18 and -34 as in the paper."""

from __future__ import annotations

from torch import nn
from torchvision.models.resnet import BasicBlock, ResNet

from sscl.models.base import CLASSIFIERS


@CLASSIFIERS.register("resnet8")
def resnet8(channels: int, size: int, classes: int) -> nn.Module:
    """He et al. 2016, section 4.2 with n = 1: three stages of one basic block, 16-32-64 channels, 78k parameters."""

    def block(inputs: int, outputs: int, stride: int) -> nn.Module:
        shortcut = None
        if stride != 1:
            shortcut = nn.Sequential(nn.Conv2d(inputs, outputs, 1, stride, bias=False), nn.BatchNorm2d(outputs))
        made: nn.Module = BasicBlock(inputs, outputs, stride, shortcut)
        return made

    return nn.Sequential(
        nn.Conv2d(channels, 16, 3, padding=1, bias=False),
        nn.BatchNorm2d(16),
        nn.ReLU(),
        block(16, 16, 1),
        block(16, 32, 2),
        block(32, 64, 2),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(64, classes),
    )


def _small_stem(layers: list[int], channels: int, classes: int) -> nn.Module:
    model: nn.Module = ResNet(BasicBlock, layers, num_classes=classes)
    model.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
    model.maxpool = nn.Identity()
    return model


@CLASSIFIERS.register("resnet18")
def resnet18(channels: int, size: int, classes: int) -> nn.Module:
    """torchvision's ResNet-18 with the small-image stem."""
    return _small_stem([2, 2, 2, 2], channels, classes)


@CLASSIFIERS.register("resnet34")
def resnet34(channels: int, size: int, classes: int) -> nn.Module:
    """torchvision's ResNet-34 with the small-image stem."""
    return _small_stem([3, 4, 6, 3], channels, classes)
