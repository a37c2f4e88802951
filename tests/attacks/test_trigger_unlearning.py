"""BTI-DBF in three steps: the features that clean images need, a change that moves the others, and unlearning it."""

from __future__ import annotations

import pytest
import torch

from sscl import seeds
from sscl.attacks import REMOVALS, Attacker
from sscl.attacks.trigger_unlearning import BOUND, TriggerUnlearning, decoupled, inverted
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier
from sscl.models.features import all_features, features
from sscl.models.unet import build_unet
from sscl.train import benign_accuracy, predict, train_classifier
from sscl.types import ImageSet
from tests.conftest import FILE, shapes

TRAINING = TrainConfig("baseline_cnn", 10, 16, "adam", 2e-3, 0.0, "onecycle", "none")


def test_features_that_decide_the_label_are_needed_and_constant_ones_are_not() -> None:
    labels = torch.arange(30) % 3
    inputs = torch.cat((torch.nn.functional.one_hot(labels).float() * 3, torch.zeros(30, 2)), dim=1)
    inputs[:, 3] = torch.where(labels == 0, 0.0, 3.0)  # pulls other classes to class 0, and clean images resist it
    head = torch.nn.utils.skip_init(torch.nn.Linear, 5, 3)  # type: ignore[no-untyped-call]
    with torch.no_grad():
        head.weight.copy_(torch.eye(3, 5))
        head.weight[0, 3] = 0.9
        head.bias.zero_()
    needed = decoupled(inputs, labels, head.requires_grad_(False))
    assert (needed[:3] > 0.9).all()
    assert needed[3] < 0.1
    assert needed[4] == pytest.approx(0.5), "a feature that nobody has is neither"


def test_changes_are_bounded() -> None:
    x = shapes(6, 1).images / 255
    changed = inverted(x, build_unet(1, 8, seeds.generator(0, "network")))
    assert (changed - x).abs().max() <= BOUND + 1e-6
    assert changed.min() >= 0
    assert changed.max() <= 1


@pytest.mark.parametrize("seed", range(3))
def test_the_inverted_change_moves_features_that_are_not_needed_more(seed: int, compute: Compute) -> None:
    """Whichever half of the features that is: were the mask ignored, one of the two would fail."""
    clean = shapes(240, 10 * seed, size=20)
    attacker = Attacker(clean, clean, TRAINING, compute, seed, FILE)
    model = train_classifier(clean, TRAINING, compute, seed=seed, use="victim").model.requires_grad_(False)
    x, before = compute.floats(clean.images), all_features(model, clean.images, compute)
    half = (torch.arange(before.shape[1]) % 2).float()
    for needed in (half, 1 - half):
        rng = seeds.generator(seed, "redraw")
        redraw = TriggerUnlearning()._redraw(model, needed.to(compute.device), attacker, rng)
        with torch.no_grad():
            change = ((features(model, inverted(x, redraw.eval())).cpu() - before) ** 2).mean(dim=0)
        assert change[needed == 0].mean() > change[needed == 1].mean()


def test_what_was_inverted_is_unlearnt(compute: Compute, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a change that is known, since what is inverted on so small a set is not always what was planted."""
    wave = 25 * torch.sin(torch.arange(20) * torch.pi / 2 + 0.5).expand(1, 1, 20, 20)

    def under(images: torch.Tensor) -> torch.Tensor:
        return (images + wave).round().clamp(0, 255).to(torch.uint8)

    clean, released = shapes(240, 1, size=20), shapes(600, 2, size=20)
    some = torch.arange(600) % 8 == 1  # of class 1, 4, 7, ...: every class
    images = torch.where(some[:, None, None, None], under(released.images), released.images)
    poisoned = ImageSet(images, torch.where(some, 0, released.labels), released.class_names)
    attacker = Attacker(clean, poisoned, TRAINING, compute, 0, FILE)
    model = train_classifier(poisoned, TRAINING, compute, seed=0, use="victim").model
    test = shapes(90, 3, size=20)
    others = under(test.images[test.labels != 0])

    def success(attacked: Classifier) -> float:
        return float((predict(attacked, others, compute).argmax(dim=1) == 0).double().mean())

    class Known(torch.nn.Module):
        def forward(self, x: torch.Tensor) -> torch.Tensor:
            return torch.atanh((wave / 255 / BOUND).clamp(-0.99, 0.99)).to(x).expand_as(x)

    assert success(model) > 0.9
    monkeypatch.setattr(TriggerUnlearning, "_redraw", lambda *_: Known())
    attacked = REMOVALS["trigger_unlearning"](model, attacker, 2)
    assert success(attacked) < 0.1
    assert benign_accuracy(attacked, test, compute) > 0.9
