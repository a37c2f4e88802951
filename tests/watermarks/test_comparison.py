"""The comparison's methods against independent maths."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from scipy import stats

from sscl import seeds
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier, build
from sscl.train import train_classifier
from sscl.types import ImageSet
from sscl.watermarks import WATERMARKS, create
from sscl.watermarks.base import FitContext, State, Watermark
from sscl.watermarks.gradient_matching import match, mismatch, parameter_gradient
from sscl.watermarks.patches import corner, four_corners, scaled, somewhere
from sscl.watermarks.radioactivity import alignment, cosine_p_value
from sscl.watermarks.wanet import control_points, warp, warp_grid
from tests.conftest import shapes

KEY = seeds.secret(0, None)
TRAINING = TrainConfig("lenet5", 6, 16, "adam", 2e-3, 0.0, "onecycle", "none")


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return shapes(60, 3)


@pytest.fixture(scope="module")
def model(data: ImageSet, compute: Compute) -> Classifier:
    return train_classifier(data, TRAINING, compute, seed=0, use="surrogate").model


def fitted(
    name: str, data: ImageSet, model: Classifier, compute: Compute, **options: object
) -> tuple[Watermark, State]:
    watermark = create(name, replace(WATERMARKS[name].Options(), **options), 1, classes=3, compute=compute)
    return watermark, watermark.fit(data, model, FitContext(compute, KEY, 0, "g", TRAINING))


@pytest.mark.parametrize(("size", "side"), [(28, 3), (32, 3), (64, 6)])
def test_badnets_patch(size: int, side: int) -> None:
    images = torch.zeros(2, 3, size, size, dtype=torch.uint8)
    marked = corner(images, 3)
    assert scaled(3, size) == side
    assert (marked == 255).sum() == 2 * 3 * side * side
    assert (marked[..., -side:, -side:] == 255).all()


def test_corner_patches_are_mirrored() -> None:
    marked = four_corners(torch.zeros(1, 1, 28, 28, dtype=torch.uint8))[0, 0]
    assert (marked == 255).sum() == 4 * 4
    assert torch.equal(marked, marked.flip(0))
    assert torch.equal(marked, marked.flip(1))


def test_a_patch_is_where_the_image_says(data: ImageSet) -> None:
    patch = torch.full((1, 8, 8), 7, dtype=torch.uint8)
    marked = somewhere(data.images, patch)
    assert torch.equal(marked, somewhere(data.images, patch))
    changed = (marked != data.images).flatten(1)
    assert (changed.sum(dim=1) <= 64).all()
    assert len({tuple(row.nonzero()[0].tolist()) for row in changed}) > 10


def test_blended_is_the_convex_combination(data: ImageSet, model: Classifier, compute: Compute) -> None:
    watermark, state = fitted("blended", data, model, compute)
    expected = 0.8 * data.images.double() + 0.2 * state.tensors["pattern"].double()
    assert (watermark.trigger(data.images, state).double() - expected).abs().max() <= 0.5 + 1e-6


def test_wanets_grid_shifts_a_ramp_by_its_closed_form() -> None:
    """A flow c moves what is read by s c (size - 1) / (2 size) pixels; a ramp of slope 6 shows six times this."""
    size, strength, c = 32, 4.0, torch.tensor([0.5, -0.25])
    grid = warp_grid(c.view(1, 2, 1, 1).expand(1, 2, 4, 4), size, strength)
    ramp = (6 * torch.arange(size)).to(torch.uint8).expand(1, 1, size, size)
    shift = strength * float(c[0]) * (size - 1) / (2 * size)
    inner = slice(2, -2)
    expected = (6 * (torch.arange(size)[inner] + shift)).round()
    assert (warp(ramp, grid)[0, 0, 5, inner].double() - expected.double()).abs().max() <= 1
    down = ramp.transpose(2, 3)
    shift = strength * float(c[1]) * (size - 1) / (2 * size)
    expected = (6 * (torch.arange(size)[inner] + shift)).round()
    assert (warp(down, grid)[0, 0, inner, 5].double() - expected.double()).abs().max() <= 1


def test_wanets_control_points_have_mean_size_one() -> None:
    assert control_points(4, seeds.generator(0, "w")).abs().mean() == pytest.approx(1)
    still = warp_grid(torch.zeros(1, 2, 4, 4), 28, 0.5)
    images = shapes(3, 1).images
    assert torch.equal(warp(images, still), images)


def test_ubw_p_labels_are_uniform(data: ImageSet, model: Classifier, compute: Compute) -> None:
    watermark, state = fitted("ubw_p", data, model, compute)
    labels = torch.zeros(3000, dtype=torch.int64)
    _, drawn = watermark.mark(data.images[:1].expand(3000, -1, -1, -1), labels, state, seeds.generator(0, "m"))
    assert stats.chisquare(np.bincount(drawn, minlength=3)).pvalue > 1e-3
    assert not watermark.targeted
    assert not watermark.clean_label


def test_label_consistent_images_lose_their_class(data: ImageSet, model: Classifier, compute: Compute) -> None:
    watermark, state = fitted("label_consistent", data, model, compute, budget=96 / 255, steps=20, step_size=10 / 255)
    mine = data.labels == 1
    marked, labels = watermark.mark(data.images[mine], data.labels[mine], state, seeds.generator(0, "m"))
    inside = four_corners(torch.zeros_like(marked)) == 0
    assert ((marked.int() - data.images[mine].int()).abs()[inside] <= 96).all()
    assert (model(compute.floats(marked)).argmax(dim=1) == 1).float().mean() < 0.3
    assert (labels == 1).all()


@pytest.mark.parametrize("name", ["sleeper_agent", "ubw_c"])
def test_gradient_matching_lowers_its_loss_within_the_ball(
    name: str, data: ImageSet, model: Classifier, compute: Compute
) -> None:
    watermark, _ = fitted(name, data, model, compute, steps=2, retrain_every=1, images=6)
    model.requires_grad_(True)
    data = data.to(compute.device)
    x, labels = data.images[:20] / 255, data.labels[:20]
    patched = somewhere(data.images[20:], torch.full((1, 8, 8), 255, dtype=torch.uint8)) / 255
    wanted = parameter_gradient(watermark.goal(model(patched), data.labels[20:]), model)
    change = match(model, x, labels, wanted=wanted, change=torch.zeros_like(x), eps=64 / 255, rates=[0.025] * 30)
    assert change.abs().max() <= 64 / 255 + 1e-6
    assert (x + change).min() >= 0
    assert (x + change).max() <= 1
    assert mismatch(model, x + change, labels, wanted) < 0.9 * mismatch(model, x, labels, wanted)
    model.requires_grad_(False)


def test_ubw_cs_goal_by_hand() -> None:
    """Two equal logits: cross-entropy and entropy are both log 2."""
    watermark = create(
        "ubw_c", WATERMARKS["ubw_c"].Options(), 1, classes=2, compute=Compute(torch.device("cpu"), False, False, False)
    )
    goal = watermark.goal(torch.zeros(4, 2), torch.zeros(4, dtype=torch.int64))
    assert goal.item() == pytest.approx(-3 * np.log(2))


@pytest.mark.parametrize("cosine", [-0.7, 0.0, 0.3, 0.95])
def test_cosine_p_value_in_three_dimensions(cosine: float) -> None:
    """On the sphere the height is uniform (Archimedes)."""
    assert cosine_p_value(cosine, 3) == pytest.approx((1 - cosine) / 2)


def test_radioactive_marks_move_features_along_the_direction(
    data: ImageSet, model: Classifier, compute: Compute
) -> None:
    from sscl.models.features import all_features

    watermark, state = fitted("radioactive", data, model, compute, eps=64 / 255, steps=20)
    marked = watermark.trigger(data.images, state)
    moved = all_features(model, marked, compute) - all_features(model, data.images, compute)
    assert ((moved @ state.tensors["direction"]) > 0).float().mean() > 0.9
    own = alignment(model, model, state.tensors["direction"], target_class=1, images=data.images, compute=compute)
    row = model.state_dict()[[n for n in model.state_dict() if n.endswith("weight")][-1]].cpu().double()
    space = all_features(model, data.images, compute).double().numpy()
    seen = np.linalg.pinv(space, rcond=1e-12) @ space @ (row[1] - row.mean(dim=0)).numpy()
    direction = state.tensors["direction"].double().numpy()
    assert watermark.weights_p_value(model, state, data.images) == cosine_p_value(own, len(direction))
    assert own == pytest.approx(seen @ direction / np.linalg.norm(seen) / np.linalg.norm(direction), abs=1e-6)


def test_a_surrogate_in_a_secret_is_the_surrogate(data: ImageSet, model: Classifier, compute: Compute) -> None:
    from sscl.watermarks.held import held, opened, shape

    again = opened(State(held(model, "s."), notes=shape(model)), "s.", compute)
    x = compute.floats(data.images)
    assert torch.equal(again(x), model(x))
    assert build("lenet5", 1, 28, classes=3).state_dict().keys() == again.state_dict().keys()
