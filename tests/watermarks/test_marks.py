"""Families of marks: bounded, drawn from the key, and different from each other."""

from __future__ import annotations

import pytest
import torch

from sscl.keystream import Keystream
from sscl.watermarks.marks import FAMILIES, half_waves, waves
from tests.conftest import shapes

NAMES = list(FAMILIES)
KEY = Keystream(bytes(32))


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_changes_are_bounded_and_shaped_like_images(name: str, channels: int) -> None:
    family = FAMILIES[name]
    secret = family.draw(family.most, KEY.part("marks"))
    assert all(len(value) == family.most for value in secret.values())
    images = shapes(12, 1, size=32, channels=channels).images
    marks = torch.arange(12) % family.most
    change = family.change(images, marks, secret)
    assert change.shape == images.shape
    assert change.abs().max() <= 1
    assert change.abs().mean() > 0.3


@pytest.mark.parametrize("name", NAMES)
def test_marks_come_from_the_key_and_differ_from_each_other(name: str) -> None:
    family = FAMILIES[name]
    first, again, other = (family.draw(family.most, KEY.part(use)) for use in ("a", "a", "b"))
    assert all(torch.equal(first[part], again[part]) for part in first)
    assert any(not torch.equal(first[part], other[part]) for part in first)
    image = shapes(1, 2).images
    changes = torch.cat([family.change(image, torch.tensor([mark]), first) for mark in range(family.most)])
    unit = torch.nn.functional.normalize(changes.flatten(1), dim=1)
    alike = (unit @ unit.T - torch.eye(family.most)).abs().max()
    assert alike < 0.7


def test_waves_are_still_told_apart_when_images_are_mirrored() -> None:
    """A stranger mirrors images at random: a wave and its mirror image must not be two marks."""
    family = FAMILIES["waves"]
    found = family.draw(family.most, KEY.part("marks"))["frequency"].abs()
    apart = (found[:, None] - found).square().sum(dim=2).sqrt() + torch.eye(family.most)
    assert apart.min() > 0.1


def test_phases_of_waves_differ_between_images_so_that_changes_are_uncorrelated() -> None:
    family = FAMILIES["waves"]
    secret = family.draw(1, KEY.part("marks"))
    images = torch.randint(0, 256, (200, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    change = family.change(images, torch.zeros(200, dtype=torch.int64), secret)
    unit = torch.nn.functional.normalize(change.flatten(1), dim=1)
    assert abs(float(unit.mean(dim=0).square().sum()) - 1 / 200) < 0.02


def test_random_waves_cover_the_codebook() -> None:
    radii = [radius for book in (waves.CODEBOOK, half_waves.CODEBOOK) for radius, _ in book]
    assert waves.STRAY[0] <= min(radii) - waves.SHIFT
    assert waves.STRAY[1] >= max(radii) + waves.SHIFT


def test_random_half_waves_leave_a_half_as_it_is() -> None:
    images = torch.zeros(200, 3, 32, 32, dtype=torch.uint8)
    change = FAMILIES["half_waves"].stray(images, torch.Generator().manual_seed(0))
    quarters = (change.abs().amax(dim=1) > 1e-3).double().unflatten(2, (2, 16)).unflatten(1, (2, 16)).mean(dim=(2, 4))
    assert (quarters.bool().flatten(1).sum(dim=1) == 2).all()
    assert len({tuple(row) for row in quarters.bool().flatten(1).tolist()}) == 4


def test_half_waves_leave_a_half_as_it_is() -> None:
    """Which half follows from the image, and queries have it, too: they are marked as the release is."""
    family = FAMILIES["half_waves"]
    images = torch.randint(0, 256, (200, 3, 32, 32), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)
    change = family.change(images, torch.zeros(200, dtype=torch.int64), family.draw(5, KEY.part("marks")))
    changed = (change.abs().amax(dim=1) > 1e-3).double()
    quarters = changed.unflatten(2, (2, 16)).unflatten(1, (2, 16)).mean(dim=(2, 4))
    assert ((quarters > 0.9) | (quarters == 0)).all()
    assert (quarters.bool().flatten(1).sum(dim=1) == 2).all()
    assert len({tuple(row) for row in quarters.bool().flatten(1).tolist()}) == 4


def test_two_owners_chords_are_different_patterns_where_waves_are_nearly_the_same() -> None:
    """An encoder that is imprinted twice must answer to both owners. Networks see patterns wherever they are."""
    image = torch.full((1, 1, 32, 32), 128, dtype=torch.uint8)

    def alike(name: str) -> float:
        family = FAMILIES[name]
        count = 7
        images, marks = image.expand(count, -1, -1, -1), torch.arange(count)
        owners = [family.change(images, marks, family.draw(count, KEY.part(owner))) for owner in ("a", "b")]
        one, other = (torch.fft.fft2(change[:, 0]) for change in owners)
        size = one.abs().square().sum(dim=(1, 2))[:, None] * other.abs().square().sum(dim=(1, 2))  # of all pairs
        shifted = torch.fft.ifft2(one[:, None] * other.conj()).real.amax(dim=(2, 3)) * 32**2
        return float((shifted / size.sqrt()).max())

    assert alike("chords") < 0.5
    assert alike("waves") > 0.6
