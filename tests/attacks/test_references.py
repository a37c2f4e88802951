"""Attacks against independent maths."""

from __future__ import annotations

import io
from dataclasses import replace
from typing import cast

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from sklearn.metrics import roc_auc_score

from sscl import seeds
from sscl.attacks import DETECTORS, REMOVALS, Attacker
from sscl.attacks.distillation import Imitation
from sscl.attacks.frequency import spectrum
from sscl.attacks.nad import attention, maps_of
from sscl.attacks.neural_cleanse import NeuralCleanse, anomaly_index, invert
from sscl.attacks.query_filters import blur, jpeg, noise, resize
from sscl.attacks.release_filters import ReleaseWavelet
from sscl.attacks.spectral_signatures import spectral_scores
from sscl.attacks.wavelet import shrunk
from sscl.compute import Compute
from sscl.models import Classifier, build
from sscl.models.features import all_features, features, last_linear
from sscl.train import fresh, train_classifier
from sscl.types import ImageSet
from sscl.watermarks.hiding import pgd
from tests.attacks.test_contract import TRAINING
from tests.conftest import FILE, shapes


@pytest.fixture(scope="module")
def attacker(compute: Compute) -> Attacker:
    return Attacker(shapes(30, 1), shapes(90, 2), TRAINING, compute, 0, FILE)


@pytest.fixture(scope="module")
def model(attacker: Attacker) -> Classifier:
    config = replace(TRAINING, epochs=12)
    return train_classifier(attacker.released, config, attacker.compute, seed=0, use="victim").model


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.integers(3, 20), st.integers(2, 6))
def test_spectral_scores_are_numpys(seed: int, count: int, dimensions: int) -> None:
    x = torch.randn(count, dimensions, generator=seeds.generator(seed, "x"), dtype=torch.float64)
    centred = x.numpy() - x.numpy().mean(axis=0)
    expected = (centred @ np.linalg.svd(centred)[2][0]) ** 2
    assert np.allclose(spectral_scores(x).numpy(), expected)


@settings(max_examples=20, deadline=None)
@given(st.integers(0, 1000), st.floats(0.01, 0.5), st.integers(1, 8))
def test_pgd_never_leaves_the_ball(seed: int, budget: float, steps: int) -> None:
    model = build("lenet5", 1, 28, classes=3, generator=seeds.generator(0, "m")).eval().requires_grad_(False)
    x = torch.rand(3, 1, 28, 28, generator=seeds.generator(seed, "x"))
    change = pgd(x, torch.arange(3), [model], budget=budget, steps=steps, step_size=3 * budget)
    assert change.abs().max() <= budget


@pytest.mark.parametrize("quality", [10, 75, 95])
@pytest.mark.parametrize("channels", [1, 3])
def test_jpeg_is_pillows(quality: int, channels: int) -> None:
    images = torch.randint(0, 256, (2, channels, 32, 32), generator=seeds.generator(0, "x"), dtype=torch.uint8)
    found = (jpeg(images / 255, 100 - quality) * 255).round().to(torch.uint8)
    for image, got in zip(images, found, strict=True):
        pixels = image.permute(1, 2, 0).squeeze(2).numpy() if channels == 1 else image.permute(1, 2, 0).numpy()
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
        expected = np.asarray(Image.open(buffer))
        assert np.array_equal(got.permute(1, 2, 0).numpy().reshape(expected.shape), expected)


def test_filters_keep_a_constant_image() -> None:
    x = torch.full((2, 1, 28, 28), 0.4)
    for changed in (blur(x, 0.5), resize(x, 0.25)):
        assert torch.allclose(changed, x, atol=1e-5)


def test_noise_has_its_sigma_and_differs_between_batches() -> None:
    rng = seeds.generator(0, "noise")
    x = torch.full((4, 1, 28, 28), 0.5)
    first, second = (noise(x, 0.05, rng) - x for _ in range(2))
    assert first.std().item() == pytest.approx(0.05, rel=0.05)
    assert not torch.equal(first, second)


def test_features_are_what_the_last_layer_is_given(model: Classifier, attacker: Attacker) -> None:
    x = attacker.compute.floats(attacker.clean.images)
    layer = last_linear(model)
    assert torch.allclose(features(model, x) @ layer.weight.T + layer.bias, model(x), atol=1e-5)


@pytest.mark.parametrize("share", [0.25, 0.5, 1.0])
def test_pruning_drops_the_least_active_inputs(model: Classifier, attacker: Attacker, share: float) -> None:
    pruned = REMOVALS["pruning"](model, attacker, share)
    zero = (last_linear(pruned).weight == 0).all(dim=0).cpu().numpy()
    active = all_features(model, attacker.clean.images, attacker.compute).mean(dim=0).numpy()
    assert zero.sum() == round(share * len(active))
    if share < 1:
        assert active[zero].max() <= active[~zero].min()
    tuned = REMOVALS["fine_pruning"](model, attacker, share)
    assert (last_linear(tuned).weight[:, torch.from_numpy(zero)] == 0).all()


def test_the_baseline_knows_nothing_of_the_attacked_model(model: Classifier, attacker: Attacker) -> None:
    """A model of other weights, of the same architecture, gives the same network."""
    other = fresh(attacker.released, attacker.training, 1, "other")
    first, again = (REMOVALS["clean_data_only"](one, attacker, 2) for one in (model, other))
    expected = replace(attacker, training=replace(attacker.training, epochs=2)).trained(
        attacker.clean, "clean-data-only"
    )
    for found in (first, again):
        pairs = zip(found.state_dict().values(), expected.state_dict().values(), strict=True)
        assert all(torch.equal(a, b) for a, b in pairs)


def test_distillation_of_a_model_into_itself_costs_nothing(model: Classifier, compute: Compute) -> None:
    x = torch.rand(4, 1, 28, 28, generator=seeds.generator(0, "x")).to(compute.device)
    practice = Imitation(model)
    assert practice.loss(model, x, torch.zeros(4), seeds.generator(0, "r")).item() == pytest.approx(0, abs=1e-6)
    other = compute.place(build("lenet5", 1, 28, classes=3, generator=seeds.generator(1, "other"))).eval()
    assert practice.loss(other, x, torch.zeros(4), seeds.generator(0, "r")).item() > 0


def test_attention_maps_have_unit_length() -> None:
    maps = torch.randn(3, 5, 4, 4, generator=seeds.generator(0, "x"))
    assert torch.allclose(attention(maps).square().sum(dim=1), torch.ones(3))
    expected = (maps.numpy() ** 2).sum(axis=1).reshape(3, -1)
    assert np.allclose(attention(maps).numpy(), expected / np.linalg.norm(expected, axis=1, keepdims=True), atol=1e-6)


@pytest.mark.parametrize(("name", "sizes"), [("resnet8", [8, 16, 32]), ("vgg16_narrow", [2, 4, 8])])
def test_attention_is_taken_from_one_map_a_size(name: str, sizes: list[int]) -> None:
    rng = seeds.generator(0, "maps")
    logits, maps = maps_of(build(name, 3, 32, classes=5, generator=rng).eval(), torch.rand(2, 3, 32, 32, generator=rng))
    assert logits.shape == (2, 5)
    assert [found.shape[-1] for found in maps] == sizes


def test_maps_and_features_of_a_compiled_network_are_its_own() -> None:
    """A network that was compiled before its hooks were added would never call them."""
    rng = seeds.generator(0, "maps")
    model, x = build("resnet8", 3, 32, classes=5, generator=rng).eval(), torch.rand(2, 3, 32, 32, generator=rng)
    compiled = cast(Classifier, torch.compile(model, backend="eager"))
    compiled(x)
    for found, wanted in zip(maps_of(compiled, x)[1], maps_of(model, x)[1], strict=True):
        assert torch.equal(found, wanted)
    assert torch.equal(features(compiled, x), features(model, x))


@pytest.mark.slow
def test_classes_without_a_trigger_are_not_suspicious(model: Classifier, attacker: Attacker) -> None:
    """With a weight that leaves no mask, no inversion succeeds, and no class stands out."""
    found = invert(model, attacker, steps=40, weight=1e4)
    assert (found.success < 0.9).all()
    assert (found.anomaly <= NeuralCleanse.suspicious).all()


def test_anomaly_index_by_hand() -> None:
    """Median 10, deviations 0, 1, 1, 2, 8: median 1."""
    found = anomaly_index(np.array([10.0, 9.0, 11.0, 12.0, 2.0]))
    assert np.allclose(found, np.array([0, 1, -1, -2, 8]) / 1.4826)


@pytest.mark.slow
def test_neural_cleanse_finds_the_class_with_a_patch(attacker: Attacker) -> None:
    """A model that answers class 2 whenever a corner is white."""
    data = attacker.released
    images, labels = data.images.clone(), data.labels.clone()
    images[::3, :, -4:, -4:], labels[::3] = 255, 2
    config = replace(TRAINING, epochs=25)
    marked = ImageSet(images, labels, data.class_names)
    model = train_classifier(marked, config, attacker.compute, seed=0, use="patched").model
    found = invert(model, attacker, steps=60)
    assert found.norms.argmin() == 2
    assert found.success[2] > 0.9


def test_spectrum_is_the_orthonormal_dct() -> None:
    """Parseval: squared magnitudes add up to the image's; a constant image has one coefficient."""
    images = np.random.default_rng(0).integers(0, 256, (2, 1, 8, 8), dtype=np.uint8)
    energy = np.expm1(spectrum(images)) ** 2
    assert np.allclose(energy.sum(axis=1), (images / 255).reshape(2, -1).__pow__(2).sum(axis=1))
    constant = spectrum(np.full((1, 3, 8, 8), 51, dtype=np.uint8))[0]
    assert np.expm1(constant[0]) == pytest.approx(0.2 * 8)
    assert np.allclose(constant[1:], 0)


def test_dataset_detectors_find_what_they_are_made_for(attacker: Attacker) -> None:
    """White patches and wrong labels in a third of one class."""
    data = shapes(240, 7)
    images, labels = data.images.clone(), data.labels.clone()
    chosen = torch.nonzero(labels == 0).flatten()[:25]
    images[chosen, :, -4:, -4:], labels[chosen] = 255, 1
    marked = ImageSet(images, labels, data.class_names)
    model = train_classifier(marked, replace(TRAINING, epochs=15), attacker.compute, seed=0, use="poisoned").model
    truth = np.zeros(len(marked))
    truth[chosen] = 1
    mine = labels.numpy() == 1
    for name in ("spectral_signatures", "activation_clustering", "frequency"):
        scores = DETECTORS[name](marked, model, attacker)
        assert roc_auc_score(truth[mine], scores[mine]) > 0.8, name


def test_label_audit_finds_wrong_labels(attacker: Attacker, model: Classifier) -> None:
    data = shapes(150, 8)
    labels = data.labels.clone()
    labels[:12] = (labels[:12] + 1) % 3
    scores = DETECTORS["label_audit"](ImageSet(data.images, labels, data.class_names), model, attacker)
    truth = np.arange(150) < 12
    assert roc_auc_score(truth, scores) > 0.8


@pytest.mark.slow
def test_noise_on_features_has_its_sigma(model: Classifier, attacker: Attacker) -> None:
    """Seen through the last layer: the covariance of what is added to logits is ``W diag(sigma^2) W^T``."""
    noisy = REMOVALS["feature_noise"](model, attacker, 0.5)
    x = attacker.compute.floats(attacker.released.images[:1]).repeat(20_000, 1, 1, 1)
    x[:, 0, 0, 0] = torch.linspace(0, 1e-3, len(x))  # queries that differ, as little as may be
    added = (noisy(x) - model(x)).detach().cpu().double()
    known = all_features(model, attacker.clean.images, attacker.compute).double()
    weight = last_linear(model).weight.detach().cpu().double()
    expected = weight @ torch.diag((0.5 * known.std(dim=0, correction=0)).square()) @ weight.T
    torch.testing.assert_close(added.T.cov(), expected, atol=0.03 * float(expected.abs().max()), rtol=0)


@pytest.mark.parametrize("name", ["feature_noise", "output_noise", "query_noise", "randomised_smoothing"])
def test_noise_belongs_to_the_query_and_not_to_its_place(name: str, model: Classifier, attacker: Attacker) -> None:
    """A query repeats in any batch. A marked image's noise does not cancel that of the image without the mark."""
    noisy, x = REMOVALS[name](model, attacker), attacker.compute.floats(attacker.released.images[:8])
    alone, among = noisy(x[3:4]), noisy(x.flip(0))[4:5]
    torch.testing.assert_close(alone, among)
    marked = (x + 1e-4).clamp(0, 1)
    change = (noisy(marked) - noisy(x)) - (model(marked) - model(x))
    assert change.std() > 0.01


@pytest.mark.slow
def test_a_hybrid_is_its_parts_one_after_another(model: Classifier, attacker: Attacker) -> None:
    changed = replace(attacker, released=ReleaseWavelet().filtered(attacker, 0.1))
    private = REMOVALS["dp_sgd"](model, changed, 2.0)
    expected = REMOVALS["randomised_smoothing"](private, changed, 0.2)
    found, x = REMOVALS["hybrid_privacy"](model, attacker, 2), attacker.compute.floats(attacker.released.images)
    assert torch.equal(found(x), expected(x))
    shown = (shrunk(x, 0.1).clamp(0, 1) * 255).round() / 255
    assert torch.allclose(attacker.compute.floats(changed.released.images), shown, atol=1e-6)
    plain = REMOVALS["reprogramming"](changed.trained(changed.released, "hybrid"), changed, 40)
    assert torch.equal(REMOVALS["hybrid_wavelet"](model, attacker, 2)(x), plain(x))
