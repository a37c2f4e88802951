"""Filters, screens and amplification against independent maths."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import ndimage

from sscl import seeds
from sscl.attacks import DETECTORS, REMOVALS, Attacker
from sscl.attacks.ibd_psc import amplified, scaled_layers
from sscl.attacks.median import median
from sscl.attacks.release_filters import ReleaseFilter
from sscl.attacks.stray_marks import strayed
from sscl.attacks.training_filters import FilterTraining
from sscl.attacks.wavelet import shrunk
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier, build
from sscl.train import predict, train_classifier
from sscl.types import ImageSet
from tests.conftest import FILE, shapes

pytestmark = pytest.mark.slow
TRAINING = TrainConfig("resnet8", 4, 16, "adam", 5e-3, 0.0, "onecycle", "none")


@pytest.fixture(scope="module")
def attacker(compute: Compute) -> Attacker:
    return Attacker(shapes(90, 1), shapes(90, 2), TRAINING, compute, 0, FILE)


@pytest.fixture(scope="module")
def model(attacker: Attacker) -> Classifier:
    return train_classifier(attacker.released, TRAINING, attacker.compute, seed=0, use="victim").model


def test_the_median_is_scipys() -> None:
    x = torch.rand(2, 3, 9, 11, generator=seeds.generator(0, "x"))
    expected = ndimage.median_filter(x.numpy(), size=(1, 1, 5, 5), mode="mirror")
    assert np.allclose(median(x, 2).numpy(), expected)


@pytest.mark.parametrize("size", [(16, 16), (15, 18)])
def test_wavelets_without_a_threshold_change_nothing_and_with_one_remove_noise(size: tuple[int, int]) -> None:
    noise = 0.02 * torch.randn(4, 3, *size, generator=seeds.generator(0, "x"))
    flat = torch.full_like(noise, 0.5)
    assert torch.allclose(shrunk(flat + noise, 0.0), flat + noise, atol=1e-6)
    assert (shrunk(flat + noise, 0.1) - flat).std() < 0.3 * noise.std()
    edge = flat.clone()
    edge[..., size[1] // 4 * 2 :] = 1.0
    assert (shrunk(edge, 0.05) - edge).abs().max() < 0.06


def test_stray_marks_stay_within_their_budget_and_differ() -> None:
    x = torch.full((6, 3, 32, 32), 0.5)
    change = strayed(x, 16 / 255, seeds.generator(0, "x")) - x
    assert change.abs().max() <= 16 / 255 + 1e-6
    assert len(torch.unique(change.flatten(1), dim=0)) == 6


FILTERS = [name.removeprefix("release_") for name in REMOVALS if isinstance(REMOVALS[name], ReleaseFilter)]


@pytest.mark.parametrize("name", FILTERS)
def test_a_filtered_release_has_no_image_as_it_was(
    name: str, model: Classifier, attacker: Attacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And a filter of the training leaves about half of them."""
    attack, seen = REMOVALS[f"release_{name}"], list[ImageSet]()
    monkeypatch.setattr(Attacker, "trained", lambda self, data, use, practice: seen.append(data) or model)
    attack(model, attacker)
    before, after = attacker.released.images, seen[0].images
    assert (before != after).flatten(1).any(dim=1).all()
    assert (before.int() - after.int()).abs().float().mean() < 20  # it is the same image
    assert torch.equal(seen[0].labels, attacker.released.labels)

    batches = list[torch.Tensor]()
    practice = REMOVALS[f"train_{name}"].practice(attack.usual)
    monkeypatch.setattr(practice, "cross_entropy", lambda answers, labels: batches.append(answers))
    x = attacker.compute.floats(before)
    practice.loss(lambda images: images, x, attacker.released.labels, seeds.generator(0, "half"))
    assert 0.3 < (batches[0] != x).flatten(1).any(dim=1).double().mean() < 0.7


def test_every_filter_of_a_training_can_be_one_of_the_release() -> None:
    assert {f"train_{name}" for name in FILTERS} | {"train_stray_marks"} == {
        name for name in REMOVALS if isinstance(REMOVALS[name], FilterTraining) and not name.startswith("release_")
    }


@pytest.mark.parametrize("name", ["knn_screen", "svm_screen"])
def test_screens_refuse_what_is_unlike_clean_images(name: str, model: Classifier, attacker: Attacker) -> None:
    screened = REMOVALS[name](model, attacker, 0.1)
    strange = torch.randint(0, 256, (40, 1, 28, 28), generator=seeds.generator(0, "x"), dtype=torch.uint8)
    empty = [
        (predict(screened, images, attacker.compute).std(dim=1) < 1e-9).double().mean()
        for images in (shapes(90, 5).images, strange)
    ]
    assert empty[0] < 0.4
    assert empty[1] > 0.9


def test_amplified_layers_are_the_last_ones(model: Classifier, attacker: Attacker) -> None:
    copied = amplified(model, 2)
    last, before = scaled_layers(model)[:2]
    assert torch.equal(scaled_layers(copied)[0].weight, last.weight * 1.5)
    assert torch.equal(scaled_layers(copied)[1].bias, before.bias * 1.5)
    assert torch.equal(scaled_layers(copied)[2].weight, scaled_layers(model)[2].weight)
    plain = build("lenet5", 1, 28, classes=3, generator=seeds.generator(0, "w"))
    assert len(scaled_layers(plain)) == 4  # two convolutions and two linear layers, without the last


@pytest.mark.parametrize("name", ["baseline_cnn", "resnet8", "fastnet_narrow", "vit_tiny"])
def test_amplification_changes_the_answers_of_every_kind_of_network(name: str) -> None:
    """Also where batch normalisations have no scale."""
    model = build(name, 3, 32, classes=5, generator=seeds.generator(0, "w")).eval()
    x = torch.rand(4, 3, 32, 32, generator=seeds.generator(0, "x"))
    with torch.no_grad():
        assert not torch.allclose(amplified(model, 1)(x), model(x))


def test_amplification_finds_a_patch(attacker: Attacker) -> None:
    """A model that was taught a patch answers patched images more surely when it is amplified."""
    poisoned = attacker.released
    images, labels = poisoned.images.clone(), poisoned.labels.clone()
    images[::4, :, -4:, -4:], labels[::4] = 255, 1
    taught = train_classifier(
        type(poisoned)(images, labels, poisoned.class_names), TRAINING, attacker.compute, seed=0, use="taught"
    ).model
    test = shapes(60, 9)
    asked = test.images.clone()
    asked[30:, :, -4:, -4:] = 255
    scores = DETECTORS["ibd_psc"](type(test)(asked, test.labels, test.class_names), taught, attacker)
    assert scores[30:].mean() > scores[:30].mean()
