"""Filters at query time: what the suspect's owner may do to every image before the model sees it."""

from __future__ import annotations

from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor
from torchvision.transforms.v2.functional import gaussian_blur

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Filtered, Removal
from sscl.data.jpeg import encoded
from sscl.models import Classifier


class Jpeg(Filtered):
    """Through the JPEG encoder."""

    quality = 75

    def filter(self, x: Tensor) -> Tensor:
        pixels = (x * 255).round().to(torch.uint8).cpu()
        return encoded(pixels, self.quality).to(x.device, x.dtype).div(255)


class Blur(Filtered):
    """Gaussian blur."""

    sigma = 0.5

    def filter(self, x: Tensor) -> Tensor:
        reach = max(1, round(3 * self.sigma))
        blurred: Tensor = gaussian_blur(x, [2 * reach + 1] * 2, [self.sigma] * 2)
        return blurred


class Noise(Filtered):
    """Gaussian noise: the same for the same place in a batch, so that answers are repeatable."""

    sigma = 0.05
    seed = 0

    def filter(self, x: Tensor) -> Tensor:
        noise = torch.randn(x.shape, generator=seeds.generator(self.seed, "query-noise")).to(x.device, x.dtype)
        return (x + self.sigma * noise).clamp(0, 1)


class Resize(Filtered):
    """Down by a share of the size and up again, bilinear with antialiasing."""

    share = 0.25

    def filter(self, x: Tensor) -> Tensor:
        size = max(1, round((1 - self.share) * x.shape[-1]))
        small = F.interpolate(x, size=size, mode="bilinear", antialias=True)
        return F.interpolate(small, size=x.shape[-1], mode="bilinear")


class QueryFilter(Removal):
    """Puts a filter before the model; the strength is the filter's parameter."""

    filtered: ClassVar[type[Filtered]]
    parameter: ClassVar[str]

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        wrapped = self.filtered(model)
        setattr(wrapped, self.parameter, strength)
        return wrapped


class JpegQuery(QueryFilter):
    """Strength is 100 less the encoder's quality."""

    unit, usual, grid, integral = "quality lost", 25, (5, 25, 50, 75), True
    filtered, parameter = Jpeg, "quality"

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return super().run(model, attacker, max(1, 100 - int(strength)))


class BlurQuery(QueryFilter):
    """Gaussian blur of every query."""

    unit, usual, grid = "sigma in pixels", 0.5, (0.3, 0.5, 0.8, 1.2)
    filtered, parameter = Blur, "sigma"


class NoiseQuery(QueryFilter):
    """Gaussian noise on every query."""

    unit, usual, grid = "sigma of pixel values in [0, 1]", 0.05, (0.02, 0.05, 0.1)
    filtered, parameter = Noise, "sigma"


class ResizeQuery(QueryFilter):
    """Every query made smaller and larger again."""

    unit, usual, grid = "share of the size lost", 0.25, (0.1, 0.25, 0.5)
    filtered, parameter = Resize, "share"


REMOVALS.register("query_jpeg")(JpegQuery())
REMOVALS.register("query_blur")(BlurQuery())
REMOVALS.register("query_noise")(NoiseQuery())
REMOVALS.register("query_resize")(ResizeQuery())
