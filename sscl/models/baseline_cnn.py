"""BaselineCNN: two convolutions and two linear layers, the MNIST network of the backdoor literature."""

from __future__ import annotations

from torch import nn

from sscl.models.base import CLASSIFIERS


@CLASSIFIERS.register("baseline_cnn")
def baseline_cnn(channels: int, size: int, classes: int) -> nn.Module:
    """Gu et al., "BadNets: Evaluating Backdooring Attacks on Deep Neural Networks", 2019, table 1."""
    side = ((size - 4) // 2 - 4) // 2
    return nn.Sequential(
        nn.Conv2d(channels, 16, 5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Conv2d(16, 32, 5),
        nn.ReLU(),
        nn.AvgPool2d(2),
        nn.Flatten(),
        nn.Linear(32 * side * side, 512),
        nn.ReLU(),
        nn.Linear(512, classes),
    )
