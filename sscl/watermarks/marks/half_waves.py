"""Half waves: for contrastive learning, whose crops then show the mark in one view and the object in the other."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl.keystream import Keystream
from sscl.watermarks.marks.base import FAMILIES, Family, Secret
from sscl.watermarks.marks.waves import STRAY, any_wave, fingerprint, near, plane_wave

# Crops change a wave's frequency by up to 2.2, and mirroring its sign: only directions within a quarter turn are kept.
CODEBOOK = ((0.4, 0.0), (0.4, 22.5), (0.42, 45.0), (0.4, 67.5), (0.4, 90.0))


class HalfWaves(Family):
    """Plane waves of one frequency and five directions, on the upper, lower, left or right half of the image.

    A contrastive method makes two random crops of an image agree. Where one shows the mark and the other the unmarked
    half, it learns that the mark goes with what the image shows; a mark on the whole image is in both crops, and goes
    with nothing. The half and the phase are functions of the image.
    """

    most = len(CODEBOOK)

    def draw(self, count: int, key: Keystream) -> dict[str, Tensor]:
        return {"frequency": near(CODEBOOK[:count], key)}

    def change(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        wave = plane_wave(images, secret["frequency"][marks], fingerprint(images, 997).div(997))
        return wave * _halves(images, fingerprint(images, 991) % 4)

    def stray(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return any_wave(images, STRAY, rng) * _halves(images, torch.randint(4, (len(images),), generator=rng))


def _halves(images: Tensor, which: Tensor) -> Tensor:
    """1 on one half of each image, of four halves int64 (N,), and 0 on the other: float32 (N, 1, H, W)."""
    height, width = images.shape[-2:]
    rows, columns = torch.arange(height)[:, None] < height // 2, torch.arange(width) < width // 2
    halves = torch.stack([half.expand(height, width) for half in (rows, ~rows, columns, ~columns)]).float()
    return halves[which][:, None]


FAMILIES.register("half_waves")(HalfWaves())
