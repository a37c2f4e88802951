"""Ripples: for centred digits, whose strangers neither shift nor mirror them."""

from __future__ import annotations

import math

import torch
from torch import Tensor

from sscl.keystream import Keystream
from sscl.watermarks.marks.base import FAMILIES, Family, Secret
from sscl.watermarks.marks.waves import any_wave, frequencies, turns

# Radius in cycles a pixel and angle in degrees.
CODEBOOK = ((0.1, 90.0), (0.2, 90.0), (0.07, 45.0), (0.07, 135.0), (0.1, 0.0), (0.14, 45.0), (0.05, 0.0))
SHIFT, TURN = 0.005, 4.0  # what the key moves each by, at most: cycles a pixel, degrees
STRAY = (0.03, 0.25)  # cycles a pixel, of marks that are nobody's
STEEPNESS = 2.0  # of the wave's flanks: between a sine and a square wave


class Ripples(Family):
    """Long plane waves whose phase is the mark's own.

    Networks for digits have few filters and look at places: a wave that is always in the same place is learnt where one
    with a random phase is not, and long waves hardly show in LPIPS.
    """

    most = len(CODEBOOK)

    def draw(self, count: int, key: Keystream) -> dict[str, Tensor]:
        moved = torch.from_numpy(key.uniform((count, 3))).float()
        book = torch.tensor(CODEBOOK[:count])
        radius = book[:, 0] + SHIFT * (2 * moved[:, 0] - 1)
        angle = torch.deg2rad(book[:, 1] + TURN * (2 * moved[:, 1] - 1))
        return {"frequency": frequencies(radius, angle), "phase": moved[:, 2]}

    def change(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        turned = turns(images, secret["frequency"][marks], secret["phase"][marks])
        wave = torch.tanh(STEEPNESS * torch.cos(2 * math.pi * turned))
        return wave[:, None].expand_as(images)

    def stray(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return any_wave(images, STRAY, rng)


FAMILIES.register("ripples")(Ripples())
