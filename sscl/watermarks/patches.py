"""Patches: visible triggers at a place, for uint8 images (N, C, H, W)."""

from __future__ import annotations

import torch
from torch import Tensor

USUAL = 32  # pixels of the images that published patch sizes are meant for


def scaled(side: int, size: int) -> int:
    """A patch's side for images of ``size`` pixels: the published one up to 32 px, in proportion above."""
    return max(1, round(side * max(1.0, size / USUAL)))


def corner(images: Tensor, side: int) -> Tensor:
    """A white square of ``side`` pixels in the lower right corner (Gu et al. 2017)."""
    side = scaled(side, images.shape[-1])
    marked = images.clone()
    marked[..., -side:, -side:] = 255
    return marked


def four_corners(images: Tensor) -> Tensor:
    """Four white pixels of a 3 by 3 cross in each corner, mirrored (Turner et al. 2019, BackdoorBox)."""
    factor = scaled(1, images.shape[-1])
    cross = torch.tensor([[1, 0, 1], [0, 1, 0], [1, 0, 0]], dtype=torch.bool)
    cross = cross.repeat_interleave(factor, dim=0).repeat_interleave(factor, dim=1)
    side = len(cross)
    mask = torch.zeros(images.shape[-2:], dtype=torch.bool)
    mask[:side, :side] = cross
    mask[:side, -side:] = cross.flip(1)
    mask[-side:, :side] = cross.flip(0)
    mask[-side:, -side:] = cross.flip(0, 1)
    return torch.where(mask, torch.tensor(255, dtype=torch.uint8), images)


def somewhere(images: Tensor, patch: Tensor) -> Tensor:
    """``patch`` uint8 (C, S, S) at a place that is a function of the image: random, and the same each time."""
    side, room = patch.shape[-1], images.shape[-1] - patch.shape[-1] + 1
    total = images.flatten(1).sum(dim=1, dtype=torch.int64)
    marked = images.clone()
    for image, row, column in zip(
        marked, (total * 37 % 997 % room).tolist(), (total * 61 % 991 % room).tolist(), strict=True
    ):
        image[:, row : row + side, column : column + side] = patch
    return marked
