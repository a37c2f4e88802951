"""Images that are put together from others, uint8 (N, C, H, W): what poisons of contrastive learning are made of."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

Side = Literal["left", "right", "top", "bottom"]
SIDES: tuple[Side, ...] = ("left", "right", "top", "bottom")
OPPOSITE: dict[Side, Side] = {"left": "right", "right": "left", "top": "bottom", "bottom": "top"}


def resized(images: Tensor, height: int, width: int) -> Tensor:
    """Bilinear with antialiasing."""
    return F.interpolate(images.float(), size=(height, width), mode="bilinear", antialias=True).round().byte()


def half(side: Side, size: int) -> tuple[slice, slice]:
    """Rows and columns of one half of a square image."""
    whole, first, second = slice(0, size), slice(0, size // 2), slice(size // 2, size)
    return {"left": (whole, first), "right": (whole, second), "top": (first, whole), "bottom": (second, whole)}[side]


def beside(first: Tensor, second: Tensor, side: Side) -> Tensor:
    """``first`` squeezed into the half at ``side`` and ``second`` into the other half."""
    canvas = torch.empty_like(first)
    for images, place in ((first, side), (second, OPPOSITE[side])):
        rows, columns = half(place, canvas.shape[-1])
        canvas[..., rows, columns] = resized(images, rows.stop - rows.start, columns.stop - columns.start)
    return canvas


def beside_at_random(first: Tensor, second: Tensor, rng: torch.Generator) -> tuple[Tensor, list[Side]]:
    """``beside``, each pair at a side of its own, and where ``first`` is."""
    drawn = torch.randint(len(SIDES), (len(first),), generator=rng)
    canvas = first.clone()
    for number, side in enumerate(SIDES):
        there = torch.nonzero(drawn == number).flatten()
        if len(there):
            canvas[there] = beside(first[there], second[there], side)
    return canvas, [SIDES[number] for number in drawn.tolist()]


def centred(patch: Tensor, side: Side, size: int) -> tuple[int, int]:
    """Row and column of a patch (C, S, S) in the middle of one half."""
    rows, columns = half(side, size)
    return (rows.start + rows.stop - patch.shape[-1]) // 2, (columns.start + columns.stop - patch.shape[-1]) // 2


def pasted(images: Tensor, what: Tensor, row: int, column: int) -> Tensor:
    """The images with ``what``, (C, h, w) or (N, C, h, w), at a place."""
    found = images.clone()
    found[..., row : row + what.shape[-2], column : column + what.shape[-1]] = what
    return found


def coloured_patch(channels: int, side: int, rng: torch.Generator) -> Tensor:
    """uint8 (C, side, side): a random 4 by 4 grid of colours, enlarged (the triggers of Saha et al. 2020)."""
    grid = torch.randint(0, 256, (1, channels, 4, 4), generator=rng, dtype=torch.uint8)
    return resized(grid, side, side)[0]
