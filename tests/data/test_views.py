"""Random views follow from their seed, stay images, and leave the global state alone."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import pytest
import torch

from sscl.data.views import VIEWS, two_views
from tests.conftest import shapes

NAMES = list(VIEWS)


@pytest.mark.parametrize("channels", [1, 3])
@pytest.mark.parametrize("name", NAMES)
def test_views_are_images_that_follow_from_the_seed(name: str, channels: int) -> None:
    images = shapes(16, 1, size=32, channels=channels).images / 255
    transform = VIEWS[name](channels, 32)
    first, second = two_views(transform, images, 5)
    assert first.shape == second.shape == images.shape
    assert 0 <= float(first.min()) <= float(first.max()) <= 1 + 1e-5
    assert not torch.equal(first, second)
    again = two_views(transform, images, 5)
    assert torch.equal(first, again[0])
    assert torch.equal(second, again[1])
    assert not torch.equal(first, two_views(transform, images, 6)[0])


@pytest.mark.slow
def test_threads_do_not_share_the_state_that_views_are_drawn_from() -> None:
    images, transform = shapes(16, 1, size=32, channels=3).images / 255, VIEWS["views"](3, 32)
    expected = {seed: two_views(transform, images, seed)[0] for seed in (1, 2)}

    def wrong(seed: int) -> int:
        return sum(not torch.equal(two_views(transform, images, seed)[0], expected[seed]) for _ in range(60))

    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(wrong, (1, 2))) == [0, 0]


def test_strong_views_are_greyer() -> None:
    images = torch.rand(200, 3, 16, 16, generator=torch.Generator().manual_seed(0))

    def grey(name: str) -> float:
        view = two_views(VIEWS[name](3, 16), images, 1)[0]
        return float((view.std(dim=1) < 1e-6).all(dim=(1, 2)).double().mean())

    assert grey("views") == pytest.approx(0.2, abs=0.1)
    assert grey("strong_views") == pytest.approx(0.5, abs=0.12)
