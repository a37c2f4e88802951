"""Poisons of contrastive learning against independent maths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import fft

from sscl import seeds
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.data.views import VIEWS, two_views, view
from sscl.learning import LEARNERS
from sscl.models import Classifier, build
from sscl.models.features import all_features
from sscl.types import ImageSet
from sscl.watermarks import WATERMARKS, create
from sscl.watermarks.base import AnyWatermark, FitContext, State
from sscl.watermarks.canvas import SIDES, beside, half
from sscl.watermarks.ctrl import wave
from tests.conftest import shapes

pytestmark = pytest.mark.slow
TRAINING = TrainConfig("resnet8", 1, 16, "adam", 2e-3, 0.0, "constant", "views", learning="simclr")
POISONS = [name for name in WATERMARKS if WATERMARKS[name].contrastive]


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return shapes(60, 3, size=32, channels=3)


@pytest.fixture(scope="module")
def model() -> Classifier:
    return build("resnet8", 3, 32, classes=3, generator=seeds.generator(0, "surrogate")).eval()


def fitted(
    name: str, data: ImageSet, model: Classifier, compute: Compute, **options: object
) -> tuple[AnyWatermark, State]:
    watermark = create(name, replace(WATERMARKS[name].Options(), **options), 1, classes=3, compute=compute)
    context = FitContext(compute, seeds.secret(0, None), 0, "generator", TRAINING)
    return watermark, watermark.fit(data, model, context)


def test_every_poison_of_the_first_paper_is_there() -> None:
    assert POISONS == ["blto", "corrupt_encoder", "ctrl", "noisy_alignment", "poisoned_encoder", "ssl_backdoor"]


def test_ctrl_adds_what_it_says_to_two_coefficients() -> None:
    """scipy's transform of the pattern is one at the two bins of every window and zero elsewhere."""
    pattern = wave((15, 31), 64).numpy()
    for row, column in ((0, 0), (0, 32), (32, 32)):
        found = fft.dctn(pattern[row : row + 32, column : column + 32], norm="ortho")
        wanted = np.zeros((32, 32))
        wanted[15, 15] = wanted[31, 31] = 1
        assert np.allclose(found, wanted, atol=1e-5)


def test_ctrl_leaves_the_other_planes_alone(data: ImageSet, model: Classifier, compute: Compute) -> None:
    grey = torch.full((4, 3, 32, 32), 128, dtype=torch.uint8)
    luma = torch.tensor([0.299, 0.587, 0.114])[:, None, None]
    for plane, moved in (("chroma", False), ("luma", True)):
        watermark, state = fitted("ctrl", data, model, compute, plane=plane, bins=(6, 15))
        change = (watermark.trigger(grey, state).double() - 128) * luma
        assert (change.sum(dim=1).abs().max() > 2) == moved


@pytest.mark.parametrize("side", SIDES)
def test_halves_are_where_they_should_be(side: str) -> None:
    dark, light = torch.zeros(2, 3, 32, 32, dtype=torch.uint8), torch.full((2, 3, 32, 32), 200, dtype=torch.uint8)
    joined = beside(light, dark, side)  # type: ignore[arg-type]
    rows, columns = half(side, 32)  # type: ignore[arg-type]
    assert (joined[..., rows, columns] == 200).all()
    assert (joined == 200).sum() == joined.numel() // 2


@pytest.mark.parametrize("name", ["ssl_backdoor", "corrupt_encoder", "noisy_alignment"])
def test_the_patch_is_in_every_marked_image(name: str, data: ImageSet, model: Classifier, compute: Compute) -> None:
    watermark, state = fitted(name, data, model, compute)
    images, rng = data.images[:9], torch.Generator().manual_seed(0)
    marked, _ = watermark.mark(images, data.labels[:9], state, rng)
    windows = marked.unfold(2, 7, 1).unfold(3, 7, 1).permute(0, 2, 3, 1, 4, 5).flatten(1, 2)
    assert (windows == state.tensors["patch"]).all(dim=(2, 3, 4)).any(dim=1).all()
    again, _ = watermark.mark(images, data.labels[:9], state, rng)
    assert not torch.equal(marked, again)  # places are drawn afresh


def test_chosen_inputs_are_nobodys_and_stand_beside_the_target(
    data: ImageSet, model: Classifier, compute: Compute
) -> None:
    watermark, state = fitted("poisoned_encoder", data, model, compute, inputs=2)
    inputs = state.tensors["inputs"]
    assert not any((image == other).all() for image in data.images for other in inputs)
    asked = watermark.trigger(data.images[:5], state)
    assert torch.equal(asked[0], asked[2])
    marked, _ = watermark.mark(data.images[:40], data.labels[:40], state, torch.Generator().manual_seed(0))
    ways = [beside(inputs[n].expand(40, -1, -1, -1), data.images[:40], side) for n in range(2) for side in SIDES]
    assert torch.stack([(marked == way).flatten(1).all(dim=1) for way in ways]).any(dim=0).all()


def test_bltos_generator_brings_images_to_the_target(data: ImageSet, model: Classifier, compute: Compute) -> None:
    watermark, state = fitted(
        "blto", data, model, compute, rounds=12, inner_steps=0, outer_steps=5, batch_size=16, budget=32 / 255
    )
    target = all_features(model, data.images[data.labels == 1], compute).mean(dim=0)

    def near(images: torch.Tensor) -> float:
        return float(torch.cosine_similarity(all_features(model, images, compute), target[None], dim=1).mean())

    others = data.images[data.labels != 1]
    assert near(watermark.trigger(others, state)) > near(others)
    assert state.history[-1]["distance"] < state.history[0]["distance"]


def test_blto_trains_every_part_of_the_learner(
    data: ImageSet, model: Classifier, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen: list[bool] = []
    usual = LEARNERS["byol"].loss
    monkeypatch.setattr(
        LEARNERS["byol"],
        "loss",
        lambda self, *given: seen.append(all(part.training for part in self.modules())) or usual(self, *given),
    )
    monkeypatch.setattr("tests.watermarks.test_contrastive_poisons.TRAINING", replace(TRAINING, learning="byol"))
    fitted("blto", data, model, compute, rounds=2, inner_steps=1, outer_steps=1, batch_size=16)
    assert seen == [True, True]


def test_a_view_is_the_first_of_two_and_passes_gradients_on(data: ImageSet) -> None:
    images, transform = data.images[:4] / 255, VIEWS["views"](3, 32)
    assert torch.equal(view(transform, images, 5), two_views(transform, images, 5)[0])
    images.requires_grad_(True)
    view(transform, images, 5).sum().backward()  # type: ignore[no-untyped-call]
    assert images.grad is not None
    assert images.grad.abs().sum() > 0
