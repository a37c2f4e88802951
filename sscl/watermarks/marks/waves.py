"""Waves: for photographs, which a stranger mirrors, crops and encodes again."""

from __future__ import annotations

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from sscl.keystream import Keystream
from sscl.watermarks.marks.base import FAMILIES, Family, Secret

# Radius in cycles a pixel and angle in degrees. Mirror images of a wave are one mark to a network whose training
# mirrors images, so angles stay within a quarter turn.
CODEBOOK = ((0.43, 0.0), (0.43, 90.0), (0.42, 45.0), (0.25, 0.0), (0.25, 90.0), (0.5, 30.0), (0.5, 60.0))
SHIFT, TURN = 0.01, 4.0  # what the key moves each by, at most: cycles a pixel, degrees
STRAY = (0.1, 0.51)  # cycles a pixel, of marks that are nobody's: those of every codebook, and others
STEEPNESS = 4.0  # of the wave's flanks: between a sine and a square wave


class Waves(Family):
    """Plane waves of different frequencies and directions; the phase is a function of the image.

    The frequencies are rare in photographs, so a network learns them at once. A phase that differs between images costs
    a convolutional network nothing, and no two images are changed alike.
    """

    most = len(CODEBOOK)

    def draw(self, count: int, key: Keystream) -> dict[str, Tensor]:
        return {"frequency": near(CODEBOOK[:count], key)}

    def change(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        return plane_wave(images, secret["frequency"][marks], fingerprint(images, 997).div(997))

    def stray(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return any_wave(images, STRAY, rng)


def any_wave(images: Tensor, radii: tuple[float, float], rng: torch.Generator) -> Tensor:
    """Waves of random direction and phase, and of a frequency between two radii."""
    drawn = torch.rand(len(images), 3, generator=rng)
    radius, angle = radii[0] + (radii[1] - radii[0]) * drawn[:, 0], math.pi * drawn[:, 1]
    return plane_wave(images, frequencies(radius, angle), drawn[:, 2])


def near(codebook: Sequence[tuple[float, float]], key: Keystream) -> Tensor:
    """Frequencies near those of a codebook, drawn with the key: cycles a pixel down and across, float32 (K, 2)."""
    moved = torch.from_numpy(key.uniform((len(codebook), 2))).float() * 2 - 1
    book = torch.tensor(codebook)
    radius, angle = book[:, 0] + SHIFT * moved[:, 0], torch.deg2rad(book[:, 1] + TURN * moved[:, 1])
    return frequencies(radius, angle)


def frequencies(radius: Tensor, angle: Tensor) -> Tensor:
    """Cycles a pixel down and across, (..., 2), from a radius in cycles a pixel and an angle in radians, (...)."""
    return torch.stack((radius * angle.sin(), radius * angle.cos()), dim=-1)


def turns(images: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """How many turns waves have made at every pixel, float32 (..., H, W), of frequencies (..., 2) and phases (...)."""
    rows, columns = (torch.arange(length, dtype=torch.float32) for length in images.shape[-2:])
    down = frequency[..., 0, None, None] * rows[:, None]
    return down + frequency[..., 1, None, None] * columns + phase[..., None, None]


def fingerprint(images: Tensor, modulus: int) -> Tensor:
    """A number below ``modulus`` that follows from an image's pixels, int64 (N,)."""
    return images.flatten(1).sum(dim=1, dtype=torch.int64).mul(37).remainder(modulus)


def plane_wave(images: Tensor, frequency: Tensor, phase: Tensor) -> Tensor:
    """Waves with steep flanks, float32 (N, C, H, W) in [-1, 1], of frequencies (N, 2) and phases in turns (N,)."""
    wave = torch.tanh(STEEPNESS * torch.cos(2 * math.pi * turns(images, frequency, phase)))
    return wave[:, None].expand_as(images)


FAMILIES.register("waves")(Waves())
