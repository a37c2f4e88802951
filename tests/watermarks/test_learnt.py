"""Marks with a learnt part: what it takes away, and that it is the owner's alone."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor

from sscl import seeds
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier
from sscl.train import train_classifier
from sscl.types import ImageSet
from sscl.watermarks.base import FitContext
from sscl.watermarks.marks import FAMILIES, Lesson
from sscl.watermarks.marks import learnt as module
from tests.conftest import shapes

TRAINING = TrainConfig("baseline_cnn", 3, 32, "adam", 2e-3, 0.0, "constant", "none")
EPS = 48 / 255


@pytest.fixture(scope="module")
def train() -> ImageSet:
    return shapes(240, 1, size=32, channels=3)


@pytest.fixture(scope="module")
def surrogate(train: ImageSet, compute: Compute) -> Classifier:
    return train_classifier(train, TRAINING, compute, seed=0, use="surrogate").model


def taught(train: ImageSet, surrogate: Classifier, compute: Compute, seed: int = 0) -> dict[str, Tensor]:
    context = FitContext(compute, seeds.secret(seed, None).part("generator"), seed, "generator", TRAINING)
    family = FAMILIES["learnt_waves"]
    drawn = family.draw(3, 3, context.key.part("marks"))
    return family.learn(drawn, Lesson(train, surrogate, context, EPS, 75))


@pytest.fixture(scope="module")
def secret(train: ImageSet, surrogate: Classifier, compute: Compute) -> dict[str, Tensor]:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "STEPS", 60)
        patch.setattr(module, "BATCH", 32)
        return taught(train, surrogate, compute)


def accuracy(images: Tensor, labels: Tensor, model: Classifier, compute: Compute) -> float:
    with torch.no_grad():
        return float((model(compute.floats(images)).argmax(dim=1).cpu() == labels).float().mean())


def test_the_learnt_part_takes_away_evidence_that_the_wave_leaves(
    train: ImageSet, surrogate: Classifier, secret: dict[str, Tensor], compute: Compute
) -> None:
    family, marks = FAMILIES["learnt_waves"], torch.arange(len(train)) % 3
    waves = {name: tensor for name, tensor in secret.items() if not name.startswith(module.NET)}

    def left(chosen: dict[str, Tensor]) -> float:
        change = family.change(train.images, marks, chosen)
        assert change.abs().max() <= 1
        marked = (train.images / 255 + EPS * change).clamp(0, 1).mul(255).round().byte()
        return accuracy(marked, train.labels, surrogate, compute)

    assert left(secret) < left(waves) - 0.1


def test_queries_are_waves_alone(train: ImageSet, secret: dict[str, Tensor]) -> None:
    family, marks = FAMILIES["learnt_waves"], torch.arange(12) % 3
    wave = FAMILIES["waves"].change(train.images[:12], marks, secret)
    assert torch.equal(family.asked(train.images[:12], marks, secret), wave)
    assert not torch.equal(family.change(train.images[:12], marks, secret), wave)


def test_the_same_key_learns_the_same_and_another_key_something_else(
    train: ImageSet, surrogate: Classifier, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "STEPS", 2)
    first, again, other = (taught(train, surrogate, compute, seed) for seed in (0, 0, 1))
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
    assert any(not torch.equal(tensor, other[name]) for name, tensor in first.items() if name.startswith(module.NET))


def test_marks_are_learnt_whatever_the_labels_are(
    train: ImageSet, surrogate: Classifier, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Neither a word nor a class of a mark can leak into what is learnt."""
    monkeypatch.setattr(module, "STEPS", 2)
    first = taught(train, surrogate, compute)
    relabelled = replace(train, labels=(train.labels + 1) % 3)
    again = taught(relabelled, surrogate, compute)
    assert all(torch.equal(tensor, again[name]) for name, tensor in first.items())
