"""A fast net for small photographs: layers and first weights of airbench94 (Jordan 2024, arXiv 2404.00498)."""

from __future__ import annotations

import math
from collections.abc import Iterable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl.models.base import CLASSIFIERS, Drawn, Fitted

RIDGE = 5e-4  # added to the variances of patches
FASTER = 64  # times the learning rate for the biases of the norms


class Whitening(Fitted, Drawn):
    """All 2 by 2 patches in their principal directions, each with unit variance, and the negative of each.

    Only the bias is trained.

    Shape: (N, C, H, W) -> (N, 8 C, H - 1, W - 1).
    """

    weight: Tensor

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.register_buffer("weight", torch.empty(8 * channels, channels, 2, 2))
        self.bias = nn.Parameter(torch.empty(8 * channels))

    def draw(self, generator: torch.Generator) -> None:
        nn.init.kaiming_uniform_(self.weight, a=math.sqrt(5), generator=generator)
        nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        return F.conv2d(x, self.weight, self.bias)

    @torch.no_grad()
    def fit(self, batches: Iterable[Tensor]) -> None:
        count, total, products = 0, torch.zeros(()), torch.zeros(())
        for images in batches:
            patches = images.unfold(2, 2, 1).unfold(3, 2, 1)  # (N, C, H - 1, W - 1, 2, 2)
            rows = patches.permute(0, 2, 3, 1, 4, 5).flatten(0, 2).flatten(1)
            count, total, products = count + len(rows), rows.sum(dim=0) + total, rows.T @ rows + products
        covariance = (products - total.outer(total) / count) / (count - 1)
        variances, directions = torch.linalg.eigh(covariance)
        filters = (directions / (variances + RIDGE).sqrt()).T  # (4 C, 4 C), one a row
        largest = filters.gather(1, filters.abs().argmax(dim=1, keepdim=True))
        filters = (filters * largest.sign()).unflatten(1, (-1, 2, 2))  # of two opposite directions always the same
        self.weight.copy_(torch.cat((filters, -filters)))


class Passing(nn.Conv2d, Drawn):
    """A 3 by 3 convolution that starts by passing its inputs on; the outputs beyond these start as usual."""

    def __init__(self, inputs: int, outputs: int) -> None:
        super().__init__(inputs, outputs, 3, padding=1, bias=False)

    def draw(self, generator: torch.Generator) -> None:
        nn.init.dirac_(self.weight[: self.in_channels])


class Norm(nn.BatchNorm2d):
    """Batch normalisation whose scale stays one, and whose bias learns ``FASTER`` times as fast under SGD.

    What is added is a multiple of the parameter: a factor of ``s`` makes its gradient ``s`` times as long, and what a
    step changes ``s ** 2`` times as large. (With Adam it is ``s`` times.)
    """

    def __init__(self, channels: int) -> None:
        super().__init__(channels)
        del self.weight
        self.register_buffer("weight", torch.ones(channels))

    def forward(self, x: Tensor) -> Tensor:
        found = super().forward(x)  # with the bias once
        return found + ((math.sqrt(FASTER) - 1) * self.bias[:, None, None]).to(found.dtype)


class Head(nn.Linear, Drawn):
    """The last layer. Training leaves its bias alone: zero, as published, unless a linear classifier is put here."""

    def __init__(self, features: int, classes: int) -> None:
        super().__init__(features, classes)
        del self.bias
        self.register_buffer("bias", torch.empty(classes))

    def draw(self, generator: torch.Generator) -> None:
        nn.init.zeros_(self.bias)


class Scale(nn.Module):
    """Multiplies by a constant."""

    def __init__(self, factor: float) -> None:
        super().__init__()
        self.factor = factor

    def forward(self, x: Tensor) -> Tensor:
        return x * self.factor


def _block(inputs: int, outputs: int) -> nn.Sequential:
    return nn.Sequential(
        Passing(inputs, outputs),
        nn.MaxPool2d(2),
        Norm(outputs),
        nn.GELU(),
        Passing(outputs, outputs),
        Norm(outputs),
        nn.GELU(),
    )


def _fast(channels: int, classes: int, widths: tuple[int, int, int]) -> nn.Module:
    first, second, third = widths
    return nn.Sequential(
        Whitening(channels),
        nn.GELU(),
        _block(8 * channels, first),
        _block(first, second),
        _block(second, third),
        nn.AdaptiveMaxPool2d(1),
        nn.Flatten(),
        Scale(1 / 9),
        Head(third, classes),
    )


@CLASSIFIERS.register("fastnet_narrow")
def fastnet_narrow(channels: int, size: int, classes: int) -> nn.Module:
    """32, 128 and 128 channels, for CPUs: 0.5 million parameters."""
    return _fast(channels, classes, (32, 128, 128))


@CLASSIFIERS.register("fastnet")
def fastnet(channels: int, size: int, classes: int) -> nn.Module:
    """64, 256 and 256 channels, as published: 2 million parameters."""
    return _fast(channels, classes, (64, 256, 256))
