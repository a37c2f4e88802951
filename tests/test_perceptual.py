from __future__ import annotations

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from sscl.perceptual import LPIPS, lpips_at
from tests.conftest import SHARED

REFERENCE = SHARED / "data/lpips-reference"


@pytest.fixture(scope="module")
def metric() -> LPIPS:
    return LPIPS()


def picture(name: str) -> Tensor:
    pixels = np.array(Image.open(REFERENCE / f"{name}.png").convert("RGB"))
    return torch.from_numpy(pixels).permute(2, 0, 1)[None]


@pytest.mark.skipif(not REFERENCE.is_dir(), reason="the reference images are not on this machine")
@pytest.mark.parametrize(("name", "published"), [("ex_p0", 0.722), ("ex_p1", 0.138)])
def test_published_values(metric: LPIPS, name: str, published: float) -> None:
    """The two values that the LPIPS authors print for their example images."""
    assert lpips_at(metric, picture("ex_ref"), picture(name)).item() == pytest.approx(published, abs=5e-4)


@pytest.mark.parametrize("size", [28, 30, 33, 64])
@pytest.mark.parametrize("channels", [1, 3])
def test_any_size_and_greyscale(metric: LPIPS, size: int, channels: int) -> None:
    rng = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (3, channels, size, size), generator=rng, dtype=torch.uint8)
    assert lpips_at(metric, images, images).tolist() == [0, 0, 0]
    other = images.flip(0)
    distance = lpips_at(metric, images, other)
    assert (distance[[0, 2]] > 0).all()
    torch.testing.assert_close(distance, lpips_at(metric, other, images))


def test_native_padding_is_zero_padding(metric: LPIPS) -> None:
    rng = torch.Generator().manual_seed(0)
    a, b = torch.randint(0, 256, (2, 1, 1, 28, 28), generator=rng, dtype=torch.uint8)
    padded = [torch.nn.functional.pad(x, (2, 2, 2, 2)) for x in (a, b)]
    torch.testing.assert_close(lpips_at(metric, a, b), lpips_at(metric, *padded))


def test_it_is_the_authors_own_distance(metric: LPIPS) -> None:
    """Descriptions can be kept and compared again; the value is bit for bit that of their code."""
    first, second = torch.rand(2, 3, 3, 40, 40, generator=torch.Generator().manual_seed(0))
    expected = metric.net(first, second, normalize=True).flatten()
    assert torch.equal(metric(first, second), expected)
    described = metric.described(first)
    assert torch.equal(metric.between(described, metric.described(second)), expected)
