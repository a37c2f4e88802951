from __future__ import annotations

import pytest
import torch
import torchvision.transforms.functional as reference
from torch.nn.functional import pad

from sscl.data.augment import AUGMENTATIONS, CropFlip, Shift, ShiftFlip, ShiftFlipCutout


@pytest.mark.parametrize("name", list(AUGMENTATIONS))
def test_same_shape_type_and_draws(name: str) -> None:
    augmentation = AUGMENTATIONS[name]()
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (16, 3, 20, 20), generator=rng, dtype=torch.uint8)
    choices = augmentation.draw(16, torch.Generator().manual_seed(1))
    assert torch.equal(choices, augmentation.draw(16, torch.Generator().manual_seed(1)))
    result = augmentation.apply(images, choices)
    assert result.shape == images.shape
    assert result.dtype == torch.uint8


@pytest.mark.parametrize("augmentation", [CropFlip(), Shift()])
def test_against_torchvision(augmentation: CropFlip | Shift) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 32, 32), generator=rng, dtype=torch.uint8)
    choices = augmentation.draw(64, rng)
    result = augmentation.apply(images, choices)
    for image, choice, got in zip(images, choices.tolist(), result, strict=True):
        expected = reference.crop(pad(image, (augmentation.padding,) * 4), choice[0], choice[1], 32, 32)
        assert torch.equal(got, reference.hflip(expected) if choice[2] else expected)


def test_reflected_shifts_against_torchvision() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (64, 3, 32, 32), generator=rng, dtype=torch.uint8)
    choices = ShiftFlip().draw(64, rng)
    result = ShiftFlip().apply(images, choices)
    for image, choice, got in zip(images, choices.tolist(), result, strict=True):
        expected = reference.crop(reference.pad(image, [2], padding_mode="reflect"), choice[0], choice[1], 32, 32)
        assert torch.equal(got, reference.hflip(expected) if choice[2] else expected)


def test_cutout_covers_a_square_of_the_shifted_image() -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 100, (64, 3, 32, 24), generator=rng, dtype=torch.uint8)
    choices = ShiftFlipCutout().draw(64, rng)
    result = ShiftFlipCutout().apply(images, choices)
    for image, choice, got in zip(images, choices.tolist(), result, strict=True):
        expected = reference.crop(reference.pad(image, [4], padding_mode="reflect"), choice[0], choice[1], 32, 24)
        expected = reference.hflip(expected) if choice[2] else expected
        top, left = choice[3] % 32 - 4, choice[4] % 24 - 4
        expected[:, max(0, top) : top + 8, max(0, left) : left + 8] = 128
        assert torch.equal(got, expected)


def test_every_offset_and_both_mirrors_occur() -> None:
    choices = CropFlip().draw(5000, torch.Generator().manual_seed(0))
    assert [choices[:, i].unique().tolist() for i in range(3)] == [list(range(9)), list(range(9)), [0, 1]]
    assert Shift().draw(100, torch.Generator().manual_seed(0))[:, 2].sum() == 0
