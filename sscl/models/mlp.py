"""A multilayer perceptron: no convolution, so nothing in common with the other families but the data."""

from __future__ import annotations

from torch import nn

from sscl.models.base import CLASSIFIERS


@CLASSIFIERS.register("mlp")
def mlp(channels: int, size: int, classes: int) -> nn.Module:
    """Two hidden layers of 300 and 100 units (LeCun et al. 1998, section III)."""
    return nn.Sequential(
        nn.Flatten(),
        nn.Linear(channels * size * size, 300),
        nn.ReLU(),
        nn.Linear(300, 100),
        nn.ReLU(),
        nn.Linear(100, classes),
    )
