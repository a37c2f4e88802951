"""Filters on training images: half of every batch goes through one, so the model sees both kinds."""

from __future__ import annotations

from abc import abstractmethod

import torch
from torch import Tensor

from sscl.attacks.base import REMOVALS
from sscl.attacks.query_filters import blur, jpeg, noise, resize
from sscl.attacks.robust_training import RobustTraining
from sscl.models import Classifier
from sscl.train import Practice


class FilterTraining(RobustTraining):
    """From scratch, with half of the images of every batch changed."""

    def practice(self, strength: float) -> Practice:
        return _HalfChanged(self, strength)

    @abstractmethod
    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        """Images, floats (N, C, H, W) in [0, 1], as the filter leaves them; it may exceed the range a little."""


class _HalfChanged(Practice):
    def __init__(self, attack: FilterTraining, strength: float) -> None:
        self.attack, self.strength = attack, strength

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        drawn = torch.rand(len(x), generator=rng) < 0.5
        if drawn.any():
            x, chosen = x.clone(), drawn.to(x.device)
            with torch.autocast(x.device.type, enabled=False):
                x[chosen] = self.attack.change(x[chosen], self.strength, rng).clamp(0, 1)
        return self.cross_entropy(model(x), labels)


class JpegTraining(FilterTraining):
    """Half of the training images through the encoder."""

    unit, usual, grid, integral = "quality lost", 50, (25, 50, 75), True

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        return jpeg(x, strength)


class BlurTraining(FilterTraining):
    """Half of the training images blurred."""

    unit, usual, grid = "sigma in pixels", 0.8, (0.5, 0.8, 1.2)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        return blur(x, strength)


class NoiseTraining(FilterTraining):
    """Half of the training images under Gaussian noise, drawn anew for each batch."""

    unit, usual, grid = "sigma of pixel values in [0, 1]", 0.1, (0.05, 0.1)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        return noise(x, strength, rng)


class ResizeTraining(FilterTraining):
    """Half of the training images made smaller and larger again."""

    unit, usual, grid = "share of the size lost", 0.25, (0.25, 0.5)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        return resize(x, strength)


REMOVALS.register("train_jpeg")(JpegTraining())
REMOVALS.register("train_blur")(BlurTraining())
REMOVALS.register("train_noise")(NoiseTraining())
REMOVALS.register("train_resize")(ResizeTraining())
