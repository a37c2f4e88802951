"""Carriers: the part of a keyed mark that a key alone decides; families of patterns with unboundedly many members."""

from __future__ import annotations

import math
from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.registry import Registry

Key = dict[str, Tensor]


class Carrier(ABC):
    """A family of patterns, one for each key (and, where it can, each image)."""

    @abstractmethod
    def draw(self, count: int, channels: int, rng: torch.Generator) -> Key:
        """Keys of ``count`` patterns, tensors (count, ...), independent and identically distributed."""

    @abstractmethod
    def pattern(self, images: Tensor, key: Key) -> Tensor:
        """Patterns (N, C, H, W) in [-1, 1] for uint8 images so shaped; ``key`` has one row, or one for each image."""


CARRIERS: Registry[Carrier] = Registry("carrier")


class Texture(Carrier):
    """Waves of two random frequencies whose phases are a function of the image: no two images share a pattern.

    Frequencies are 0.25 to 0.42 cycles a pixel: rare in photographs, so that they are learnt, and low enough to survive
    JPEG. A phase that differs between images costs a convolutional network nothing, and keeps residuals uncorrelated.
    """

    waves, lowest, highest = 2, 0.25, 0.42

    def draw(self, count: int, channels: int, rng: torch.Generator) -> Key:
        low, high = self.lowest**2, self.highest**2
        radius = (low + (high - low) * torch.rand(count, self.waves, generator=rng)).sqrt()  # uniform over the annulus
        angle = math.pi * torch.rand(count, self.waves, generator=rng)
        return {"frequency": torch.stack((radius * angle.cos(), radius * angle.sin()), dim=2)}

    def pattern(self, images: Tensor, key: Key) -> Tensor:
        height, width = images.shape[-2:]
        rows = torch.arange(height, device=images.device, dtype=torch.float32)[:, None]
        columns = torch.arange(width, device=images.device, dtype=torch.float32)
        frequency = key["frequency"].to(images.device)[:, :, :, None, None]  # (1 or N, waves, 2, 1, 1)
        total = images.flatten(1).sum(dim=1, dtype=torch.int64)[:, None]
        steps = torch.tensor([(37, 61, 83, 101)[: self.waves]], device=images.device)
        phase = (total * steps % 997).float().div(997)[:, :, None, None]  # (N, waves, 1, 1)
        turns = frequency[:, :, 0] * rows + frequency[:, :, 1] * columns + phase
        wave = torch.cos(2 * math.pi * turns).sum(dim=1, keepdim=True)
        return torch.tanh(4 * wave).expand(-1, images.shape[1], -1, -1)


class Wave(Texture):
    """One wave of random frequency: stronger than two, with fewer keys that a model can tell apart."""

    waves = 1


class Blocks(Carrier):
    """A 7 by 7 chequer of random signs at fixed places: for centred images, and networks that look at places."""

    side = 7

    def draw(self, count: int, channels: int, rng: torch.Generator) -> Key:
        signs = torch.randint(0, 2, (count, channels, self.side, self.side), generator=rng)
        return {"signs": signs.float() * 2 - 1}

    def pattern(self, images: Tensor, key: Key) -> Tensor:
        pattern = F.interpolate(key["signs"].to(images.device), size=images.shape[-2:], mode="nearest")
        return pattern.expand(len(images), -1, -1, -1)


for _name, _carrier in {"texture": Texture(), "wave": Wave(), "blocks": Blocks()}.items():
    CARRIERS.register(_name)(_carrier)
