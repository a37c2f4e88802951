"""Filters at query time: what the suspect's owner may do to every image before the model sees it."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from sscl.attacks.base import REMOVALS, Attacker, Filtered, Removal
from sscl.attacks.noise import drawn
from sscl.compute import pixels
from sscl.data.jpeg import encoded
from sscl.models import Classifier


def jpeg(x: Tensor, lost: float) -> Tensor:
    """Through the JPEG encoder at quality 100 less ``lost``."""
    return encoded(pixels(x), max(1, 100 - int(lost))).to(x.device, x.dtype).div(255)


def blur(x: Tensor, sigma: float) -> Tensor:
    """Gaussian blur, ``sigma`` in pixels."""
    reach = max(1, round(3 * sigma))
    blurred: Tensor = gaussian_blur(x, [2 * reach + 1] * 2, [sigma] * 2)
    return blurred


def noise(x: Tensor, sigma: float, rng: torch.Generator) -> Tensor:
    """Gaussian noise on pixel values in [0, 1]."""
    return (x + sigma * torch.randn(x.shape, generator=rng).to(x.device, x.dtype)).clamp(0, 1)


def resize(x: Tensor, share: float) -> Tensor:
    """Down by a share of the size and up again, bilinear with antialiasing."""
    size = max(1, round((1 - share) * x.shape[-1]))
    small = F.interpolate(x, size=size, mode="bilinear", antialias=True)
    return F.interpolate(small, size=x.shape[-1], mode="bilinear")


class QueryFilter(Removal):
    """Puts a filter before the model; the strength is the filter's parameter."""

    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return Filtered(model, partial(self.change, strength=strength))

    @abstractmethod
    def change(self, x: Tensor, strength: float) -> Tensor: ...


class JpegQuery(QueryFilter):
    """Every query through the JPEG encoder."""

    unit, usual, grid, integral = "quality lost", 25, (5, 25, 50, 75), True

    def change(self, x: Tensor, strength: float) -> Tensor:
        return jpeg(x, strength)


class BlurQuery(QueryFilter):
    """Gaussian blur of every query."""

    unit, usual, grid = "sigma in pixels", 0.5, (0.3, 0.5, 0.8, 1.2)

    def change(self, x: Tensor, strength: float) -> Tensor:
        return blur(x, strength)


class NoiseQuery(QueryFilter):
    """Gaussian noise on every query."""

    unit, usual, grid = "sigma of pixel values in [0, 1]", 0.05, (0.02, 0.05, 0.1)

    def change(self, x: Tensor, strength: float) -> Tensor:
        return (x + strength * drawn(x, x.shape[1:], "query noise")).clamp(0, 1)


class ResizeQuery(QueryFilter):
    """Every query made smaller and larger again."""

    unit, usual, grid = "share of the size lost", 0.25, (0.1, 0.25, 0.5)

    def change(self, x: Tensor, strength: float) -> Tensor:
        return resize(x, strength)


REMOVALS.register("query_jpeg")(JpegQuery())
REMOVALS.register("query_blur")(BlurQuery())
REMOVALS.register("query_noise")(NoiseQuery())
REMOVALS.register("query_resize")(ResizeQuery())
