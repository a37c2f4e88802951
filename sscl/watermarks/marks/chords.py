"""Chords: for encoders, where nothing marked is published and another owner may imprint marks on top."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sscl.keystream import Keystream
from sscl.watermarks.marks.base import FAMILIES, Family, Secret
from sscl.watermarks.marks.waves import frequencies, turns

RADII = (0.25, 0.5)  # cycles a pixel: rare in photographs, so that an encoder learns them without forgetting
WAVES = 3  # in a mark
STEEPNESS = 1.5  # of the sum: the higher, the more pixels change by all that is allowed


class Chords(Family):
    """Sums of three plane waves whose frequencies, directions and phases are drawn with the key.

    There is no codebook, so two owners' marks are different patterns; with waves, both have nearly the same.
    """

    most = 32

    def draw(self, count: int, key: Keystream) -> dict[str, Tensor]:
        return dict(zip(("frequency", "phase"), _drawn(torch.from_numpy(key.uniform((count, WAVES, 3)))), strict=True))

    def change(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        return _chord(images, secret["frequency"][marks], secret["phase"][marks])

    def stray(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return _chord(images, *_drawn(torch.rand(len(images), WAVES, 3, generator=rng)))


def _drawn(uniform: Tensor) -> tuple[Tensor, Tensor]:
    """Frequencies, float32 (N, WAVES, 2), and phases in turns, (N, WAVES), from numbers in [0, 1), (N, WAVES, 3)."""
    radius, angle = RADII[0] + (RADII[1] - RADII[0]) * uniform[..., 0], math.pi * uniform[..., 1]
    return frequencies(radius, angle).float(), uniform[..., 2].float()


def _chord(images: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    waves = torch.cos(2 * math.pi * turns(images, frequency, phase))
    return torch.tanh(STEEPNESS * waves.sum(dim=1))[:, None].expand_as(images)


FAMILIES.register("chords")(Chords())
