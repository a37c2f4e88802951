"""Batched augmentation on the device: the random choices are drawn once an epoch, a batch is one gather."""

from __future__ import annotations

from abc import ABC, abstractmethod

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.registry import Registry


class Augmentation(ABC):
    """Random transform of uint8 batches."""

    @abstractmethod
    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        """Random choices for ``count`` images: int64 (count, k)."""

    @abstractmethod
    def apply(self, images: Tensor, choices: Tensor) -> Tensor:
        """Transform uint8 (N, C, H, W) by its ``choices`` (N, k); same shape and type."""


AUGMENTATIONS: Registry[type[Augmentation]] = Registry("augmentation", base=Augmentation, classes=True)


@AUGMENTATIONS.register("none")
class NoAugmentation(Augmentation):
    """Images as they are."""

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        return torch.empty(count, 0, dtype=torch.int64)

    def apply(self, images: Tensor, choices: Tensor) -> Tensor:
        return images


class _Crop(Augmentation):
    """Zero-pad, crop back at a random place, and mirror if ``mirrored``."""

    padding: int
    mirrored: bool

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        offsets = torch.randint(2 * self.padding + 1, (count, 2), generator=generator)
        flips = torch.randint(2, (count, 1), generator=generator)
        return torch.cat((offsets, flips * int(self.mirrored)), dim=1)

    def apply(self, images: Tensor, choices: Tensor) -> Tensor:
        return _gathered(F.pad(images, (self.padding,) * 4), *self._places(images, choices))

    def _places(self, images: Tensor, choices: Tensor) -> tuple[Tensor, Tensor]:
        """Rows (N, H) and columns (N, W) to read, of images that are padded."""
        height, width = images.shape[-2:]
        columns = torch.arange(width, device=images.device).expand(len(images), width)
        columns = torch.where(choices[:, 2:3] == 1, columns.flip(1), columns) + choices[:, 1:2]
        return torch.arange(height, device=images.device) + choices[:, :1], columns


def _gathered(images: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    batch = torch.arange(len(images), device=images.device)[:, None, None]
    picked = images.permute(0, 2, 3, 1)[batch, rows[:, :, None], columns[:, None, :]]  # (N, H, W, C)
    return picked.permute(0, 3, 1, 2)


def _reflected(places: Tensor, size: int) -> Tensor:
    """Places outside of 0 to ``size - 1``, mirrored at the border."""
    return (size - 1) - ((size - 1) - places.abs()).abs()


@AUGMENTATIONS.register("crop_flip")
class CropFlip(_Crop):
    """The CIFAR recipe: pad 4, random crop, mirror half of the images (He et al. 2016)."""

    padding, mirrored = 4, True


@AUGMENTATIONS.register("shift_flip")
class ShiftFlip(_Crop):
    """Mirrors half of the images and shifts all by up to 2 px, with the border reflected (Jordan 2024)."""

    padding, mirrored = 2, True

    def apply(self, images: Tensor, choices: Tensor) -> Tensor:
        rows, columns = self._places(images, choices)
        height, width = images.shape[-2:]
        places = _reflected(rows - self.padding, height), _reflected(columns - self.padding, width)
        return _gathered(images, *places)


@AUGMENTATIONS.register("shift_flip_cutout")
class ShiftFlipCutout(ShiftFlip):
    """``shift_flip`` by up to 4 px, and a grey square of 8 px, cut at the borders (DeVries and Taylor 2017)."""

    padding, side, grey = 4, 8, 128

    def draw(self, count: int, generator: torch.Generator) -> Tensor:
        centres = torch.randint(2**31, (count, 2), generator=generator)  # modulo the image's size, not known yet
        return torch.cat((super().draw(count, generator), centres), dim=1)

    def apply(self, images: Tensor, choices: Tensor) -> Tensor:
        height, width = images.shape[-2:]
        rows, columns = self._covered(choices[:, 3:4], height), self._covered(choices[:, 4:5], width)
        covered = (rows[:, :, None] & columns[:, None, :])[:, None]
        return super().apply(images, choices).masked_fill(covered, self.grey)

    def _covered(self, centres: Tensor, size: int) -> Tensor:
        """Which of ``size`` rows or columns the squares cover, whose ``centres`` (N, 1) are given: bool (N, size)."""
        distance = torch.arange(size, device=centres.device) - centres % size
        return (-self.side // 2 <= distance) & (distance < self.side // 2)


@AUGMENTATIONS.register("shift")
class Shift(_Crop):
    """Shifts of up to 2 px: digits must not be mirrored."""

    padding, mirrored = 2, False
