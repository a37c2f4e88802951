"""LeNet-5, with tanh and average pooling as published."""

from __future__ import annotations

from torch import nn

from sscl.models.base import CLASSIFIERS


@CLASSIFIERS.register("lenet5")
def lenet5(channels: int, size: int, classes: int) -> nn.Module:
    """LeCun et al. 1998, figure 2; the last layer is linear."""
    side = (size // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 6, 5, padding=2),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Conv2d(6, 16, 5),
        nn.Tanh(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16 * side * side, 120),
        nn.Tanh(),
        nn.Linear(120, 84),
        nn.Tanh(),
        nn.Linear(84, classes),
    )
