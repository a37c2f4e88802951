"""ASD: which images are trusted, and what is learnt of the others."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from sscl import seeds
from sscl.attacks import REMOVALS, Attacker, adaptive_splitting
from sscl.attacks.adaptive_splitting import AdaptiveSplitting, MixMatch, losses_of, smallest
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import build
from sscl.train import benign_accuracy, predict, train_classifier
from sscl.types import ImageSet
from tests.conftest import FILE, shapes

TRAINING = TrainConfig("baseline_cnn", 8, 16, "adam", 2e-3, 0.0, "onecycle", "none")


def test_the_smallest_scores_are_chosen() -> None:
    assert smallest(torch.tensor([3.0, 1.0, 2.0, 1.0]), 0.5).tolist() == [False, True, False, True]
    assert not smallest(torch.ones(4), 0.0).any()


def test_losses_are_cross_entropies_of_the_released_labels(compute: Compute) -> None:
    attacker = Attacker(shapes(6, 1), shapes(12, 2), TRAINING, compute, 0, FILE)
    model = compute.place(build("lenet5", 1, 28, classes=3, generator=seeds.generator(0, "model")).eval())
    logs = predict(model, attacker.released.images, compute).log()
    expected = F.nll_loss(logs, attacker.released.labels, reduction="none").float()
    torch.testing.assert_close(losses_of(model, attacker), expected)


def test_images_without_labels_are_learnt_whatever_their_labels_say() -> None:
    """Two batches that differ in the labels of images that are not trusted have one loss."""
    model = build("lenet5", 1, 28, classes=3, generator=seeds.generator(0, "model")).eval()
    x = shapes(12, 1).images / 255
    trusted = torch.arange(12) % 2 == 0
    labels, others = torch.arange(12) % 3, (torch.arange(12) + 1) % 3

    def loss(unknown: torch.Tensor, known: torch.Tensor) -> float:
        told = torch.where(trusted, known, unknown + 3)
        return float(MixMatch(3, 15.0).loss(model, x, told, seeds.generator(0, "loss")).detach())

    assert loss(labels, labels) == loss(others, labels)
    assert loss(labels, labels) != loss(labels, others)


def test_a_batch_of_one_has_the_loss_of_its_guess() -> None:
    """Mixed with itself, an image has its own guess as the label: the squared distance to the sharpened answer."""
    model = build("lenet5", 1, 28, classes=3, generator=seeds.generator(0, "model")).eval()
    x = shapes(1, 1).images / 255
    p = model(x).detach().softmax(dim=1)
    sharp = p**2 / (p**2).sum()
    expected = 15.0 * (p - sharp).square().mean()
    found = MixMatch(3, 15.0).loss(model, x, torch.tensor([4]), seeds.generator(0, "loss"))
    assert float(found.detach()) == pytest.approx(float(expected), rel=1e-5)
    known = MixMatch(3, 15.0).loss(model, x, torch.tensor([1]), seeds.generator(0, "loss"))
    assert float(known.detach()) == pytest.approx(-float(p[0, 1].log()), rel=1e-5)


def test_trust_grows_by_class_then_goes_by_loss_then_by_what_is_learnt_in_an_epoch(
    compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    released = shapes(300, 2)
    attacker = Attacker(shapes(30, 1), released, TRAINING, compute, 0, FILE)
    model, virtual = (build("lenet5", 1, 28, classes=3) for _ in range(2))
    losses = torch.arange(300) * 1.0
    after = torch.where(torch.arange(300) % 3 == 1, losses, losses - 1000)  # only class 1 is not learnt any faster
    monkeypatch.setattr(adaptive_splitting, "losses_of", lambda one, _: losses if one is model else after)
    monkeypatch.setattr(adaptive_splitting, "_virtual", lambda *_: virtual)
    trusted = [AdaptiveSplitting()._trusted(model, attacker, epoch, 8) for epoch in range(8)]
    assert [int(found.sum()) for found in trusted] == [0, 0, 3, 6, 150, 150, 150, 150]  # 0, 0.5, 1, 1.5 of each 100
    assert trusted[2].nonzero().flatten().tolist() == [0, 1, 2]
    assert trusted[4].nonzero().flatten().tolist() == list(range(150))
    assert trusted[6][torch.arange(300) % 3 == 1].all()


def test_the_virtual_epoch_trains_the_later_layers_of_a_copy(compute: Compute) -> None:
    attacker = Attacker(shapes(30, 1), shapes(60, 2), replace(TRAINING, epochs=1), compute, 0, FILE)
    model = compute.place(build("lenet5", 1, 28, classes=3, generator=seeds.generator(0, "model")))
    before = {name: value.clone() for name, value in model.state_dict().items()}
    after = adaptive_splitting._virtual(model, attacker, 0).state_dict()
    assert all(torch.equal(before[name], value) for name, value in model.state_dict().items())
    first, *_, last = [name for name, _ in model.named_parameters()]
    assert torch.equal(before[first], after[first])
    assert not torch.equal(before[last], after[last])


@pytest.mark.slow
def test_wrong_labels_are_not_learnt(compute: Compute) -> None:
    """A fifth of the release says that a patched image is of class 0; ordinary training learns it."""
    released = shapes(300, 2)
    some = torch.arange(300) % 5 == 1
    images = released.images.clone()
    images[some, :, -4:, -4:] = 255
    poisoned = ImageSet(images, torch.where(some, 0, released.labels), released.class_names)
    attacker = Attacker(shapes(90, 1), poisoned, TRAINING, compute, 0, FILE)
    model = train_classifier(poisoned, TRAINING, compute, seed=0, use="victim").model
    test = shapes(90, 3)
    patched = test.images[test.labels != 0].clone()
    patched[..., -4:, -4:] = 255
    attacked = REMOVALS["adaptive_splitting"](model, attacker, 24)
    fooled = [float((predict(m, patched, compute).argmax(dim=1) == 0).double().mean()) for m in (model, attacked)]
    assert fooled[0] > 0.9
    assert fooled[1] < 0.2
    assert benign_accuracy(attacked, test, compute) > 0.9
