"""ResNets with a small-image stem (3x3, stride 1, no pooling): ResNet-8 for CPUs, ResNet-18 and -34 as in the paper."""

from __future__ import annotations

from torch import nn

from sscl.models.base import CLASSIFIERS


def _basic(channels: int, classes: int, widths: list[int], blocks: list[int]) -> nn.Module:
    """Stages of basic blocks, each but the first at half the size (He et al. 2016, section 4.2)."""
    from torchvision.models.resnet import BasicBlock

    layers: list[nn.Module] = [
        nn.Conv2d(channels, widths[0], 3, padding=1, bias=False),
        nn.BatchNorm2d(widths[0]),
        nn.ReLU(),
    ]
    inputs = widths[0]
    for stage, (width, count) in enumerate(zip(widths, blocks, strict=True)):
        for number in range(count):
            stride = 2 if stage and not number else 1
            shortcut = None
            if stride != 1:
                shortcut = nn.Sequential(nn.Conv2d(inputs, width, 1, stride, bias=False), nn.BatchNorm2d(width))
            layers.append(BasicBlock(inputs, width, stride, shortcut))
            inputs = width
    return nn.Sequential(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(inputs, classes))


@CLASSIFIERS.register("resnet8")
def resnet8(channels: int, size: int, classes: int) -> nn.Module:
    """He et al. 2016, section 4.2 with n = 1: three stages of one basic block, 16-32-64 channels, 78k parameters."""
    return _basic(channels, classes, [16, 32, 64], [1, 1, 1])


@CLASSIFIERS.register("resnet18_narrow")
def resnet18_narrow(channels: int, size: int, classes: int) -> nn.Module:
    """ResNet-18 at an eighth of its width, for CPUs."""
    return _basic(channels, classes, [8, 16, 32, 64], [2, 2, 2, 2])


@CLASSIFIERS.register("resnet34_narrow")
def resnet34_narrow(channels: int, size: int, classes: int) -> nn.Module:
    """ResNet-34 at an eighth of its width, for CPUs."""
    return _basic(channels, classes, [8, 16, 32, 64], [3, 4, 6, 3])


def _small_stem(layers: list[int], channels: int, classes: int) -> nn.Module:
    from torchvision.models.resnet import BasicBlock, ResNet

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
