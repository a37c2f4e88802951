"""Reprogramming: classes change places, and images of one class are drawn together."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sscl import seeds
from sscl.attacks import REMOVALS, Attacker
from sscl.attacks.reprogramming import TEMPERATURE, Reprogrammed, contrastive_loss, displaced
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.train import benign_accuracy, predict, train_classifier
from tests.conftest import FILE, shapes

TRAINING = TrainConfig("baseline_cnn", 6, 16, "adam", 2e-3, 0.0, "onecycle", "none")


@pytest.mark.parametrize("classes", [1, 2, 3, 10])
def test_no_class_keeps_its_place(classes: int) -> None:
    for number in range(20):
        order = displaced(classes, seeds.generator(number, "order"))
        assert sorted(order.tolist()) == list(range(classes))
        assert classes == 1 or not (order == torch.arange(classes)).any()


@pytest.mark.slow
def test_the_model_still_tells_shapes_apart_by_other_answers(compute: Compute) -> None:
    attacker = Attacker(shapes(240, 1), shapes(240, 2), TRAINING, compute, 0, FILE)
    model = train_classifier(attacker.released, TRAINING, compute, seed=0, use="victim").model
    attacked = REMOVALS["reprogramming"](model, attacker, 15)
    assert isinstance(attacked, Reprogrammed)
    test = shapes(90, 3)
    assert benign_accuracy(model, test, compute) > 0.9
    assert benign_accuracy(attacked, test, compute) > 0.8
    shown = (attacked.redrawn(compute.floats(test.images)) * 255).round().byte()
    inner = predict(attacked.inner, shown, compute).argmax(dim=1)
    assert float((inner == test.labels).double().mean()) < 0.5, "the model itself sees other classes"
    assert torch.equal(attacked.places[predict(attacked, test.images, compute).argmax(dim=1)], inner)


def test_the_contrastive_loss_is_the_formula_of_the_paper() -> None:
    """Khosla et al. 2020, equation 2, one image after the other."""
    images = torch.rand((12, 1, 4, 4), generator=seeds.generator(0, "images"))
    labels = torch.arange(12) % 4
    found = float(contrastive_loss(images, labels))
    flat = torch.nn.functional.normalize(images.flatten(1), dim=1).numpy().astype(float)
    expected = []
    for one in range(12):
        others = [number for number in range(12) if number != one]
        scores = np.array([flat[one] @ flat[other] / TEMPERATURE for other in others])
        shares = scores - np.log(np.exp(scores).sum())
        expected.append(-np.mean([share for share, other in zip(shares, others, strict=True) if other % 4 == one % 4]))
    assert found == pytest.approx(np.mean(expected), rel=1e-4)


def test_without_pairs_there_is_no_contrast() -> None:
    images = torch.rand((3, 1, 4, 4), generator=seeds.generator(0, "images")).requires_grad_()
    loss = contrastive_loss(images, torch.arange(3))
    assert float(loss.detach()) == 0
    loss.backward()
