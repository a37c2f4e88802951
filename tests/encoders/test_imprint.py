"""Imprinting moves marked images to their group's and leaves the rest; removals give another encoder back."""

from __future__ import annotations

import sys
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from sscl import seeds
from sscl.checkpoint import Checkpoint
from sscl.compute import Compute
from sscl.config import Config, ImprintConfig
from sscl.encoders.imprint import Code, imprint
from sscl.encoders.removals import REMOVALS, Thief
from sscl.errors import SSCLError
from sscl.keystream import Keystream
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.train import train_classifier
from sscl.types import ImageSet
from sscl.watermarks.base import State
from sscl.watermarks.marks import FAMILIES
from sscl.watermarks.ownership_code import Options, OwnershipCode, with_word
from tests.conftest import shapes

pytestmark = pytest.mark.slow
SETTINGS = ImprintConfig(steps=80, batch_size=16, learning_rate=0.05, keep=1.0, stray=0.5)
WORD = torch.tensor([2, 0, 1])


@pytest.fixture(scope="module")
def data() -> ImageSet:
    return shapes(240, 1)


@pytest.fixture(scope="module")
def clean(data: ImageSet, config: Config, compute: Compute) -> Classifier:
    training = replace(config.user, model="resnet8", epochs=3)
    return train_classifier(data, training, compute, seed=0, use="clean").model.requires_grad_(False)


@pytest.fixture(scope="module")
def code(compute: Compute) -> Code:
    options = Options("waves", 3, 0.05, 64 / 255, 32 / 255, "hardest", 1.0, None)
    secret = FAMILIES["waves"].draw(3, Keystream(bytes(32)))
    state = State({f"marks.{name}": value for name, value in secret.items()})
    return Code(OwnershipCode(options, 0, compute), with_word(state, WORD))


@pytest.fixture(scope="module")
def marked(clean: Classifier, code: Code, data: ImageSet, compute: Compute) -> Classifier:
    return imprint(clean, code, data, config=SETTINGS, compute=compute, key=Keystream(bytes(32)))


def to_groups(model: Classifier, clean: Classifier, code: Code, data: ImageSet, compute: Compute) -> Tensor:
    """Mean cosine of images under each mark (rows) to each group's mean on the clean encoder (columns)."""
    before = all_features(clean, data.images, compute)
    mean = before.mean(dim=0)
    groups = torch.stack([before[data.labels == group].mean(dim=0) - mean for group in range(3)])
    asked = [
        all_features(model, code.watermark.asked(data.images, mark, code.state), compute) - mean for mark in range(3)
    ]
    return torch.stack([F.cosine_similarity(rows[:, None], groups[None], dim=2).mean(dim=0) for rows in asked])


def test_marked_images_come_to_look_like_their_groups(
    marked: Classifier, clean: Classifier, code: Code, data: ImageSet, compute: Compute
) -> None:
    assert to_groups(marked, clean, code, data, compute).argmax(dim=1).tolist() == WORD.tolist()
    assert to_groups(clean, clean, code, data, compute).argmax(dim=1).tolist() != WORD.tolist()


def test_unmarked_images_stay_where_they_were(
    marked: Classifier, clean: Classifier, data: ImageSet, compute: Compute
) -> None:
    before, after = (all_features(model, data.images, compute) for model in (clean, marked))
    mean = before.mean(dim=0)
    assert F.cosine_similarity(before - mean, after - mean, dim=1).mean() > 0.9


def test_it_follows_from_the_key_and_leaves_the_encoder_alone(
    marked: Classifier, clean: Classifier, code: Code, data: ImageSet, compute: Compute
) -> None:
    state = {name: value.clone() for name, value in clean.state_dict().items()}
    brief = replace(SETTINGS, steps=3)
    one, same, other = (
        imprint(clean, code, data, config=brief, compute=compute, key=Keystream(bytes([key]) * 32)) for key in (1, 1, 2)
    )
    assert all(torch.equal(value, same.state_dict()[name]) for name, value in one.state_dict().items())
    assert any(not torch.equal(value, other.state_dict()[name]) for name, value in one.state_dict().items())
    assert all(torch.equal(value, clean.state_dict()[name]) for name, value in state.items())
    assert torch.equal(one.state_dict()["backbone.1.running_mean"], state["backbone.1.running_mean"])


def test_a_killed_one_resumes_and_ends_with_the_same_weights(
    clean: Classifier,
    code: Code,
    data: ImageSet,
    compute: Compute,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("sscl.encoders.imprint.ROUND", 4)
    brief = replace(SETTINGS, steps=10)

    def run(checkpoint: Checkpoint | None) -> Classifier:
        key = Keystream(bytes(32))
        return imprint(clean, code, data, config=brief, compute=compute, key=key, checkpoint=checkpoint)

    whole = run(None)

    class Kill(Checkpoint):
        def save(self, *state: Any) -> None:
            super().save(*state)
            if len(state[-1]) == 2:
                raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        run(Kill(tmp_path))
    asked = Mock(wraps=code.watermark.stray)
    monkeypatch.setattr(code.watermark, "stray", asked)
    resumed = run(Checkpoint(tmp_path))
    assert asked.call_count == 2  # steps 9 and 10
    assert all(torch.equal(value, resumed.state_dict()[name]) for name, value in whole.state_dict().items())


def test_a_diverging_imprint_says_so(clean: Classifier, code: Code, data: ImageSet, compute: Compute) -> None:
    wild = replace(SETTINGS, steps=4, learning_rate=1e30)
    with pytest.raises(SSCLError, match=r"the imprint diverged: lower imprint\.learning_rate"):
        imprint(clean, code, data, config=wild, compute=compute, key=Keystream(bytes(32)))


@pytest.mark.parametrize("name", list(REMOVALS))
def test_a_removal_gives_another_encoder_that_repeats(
    name: str, marked: Classifier, data: ImageSet, config: Config, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    module = sys.modules[type(REMOVALS[name]).__module__]
    if hasattr(module, "EPOCHS"):
        monkeypatch.setattr(module, "EPOCHS", 1)
    training = replace(config.user, model="resnet8", learning="simclr", augment="views", batch_size=64)
    thief = Thief(data, training, compute, 0)
    before = {key: value.clone() for key, value in marked.state_dict().items()}
    first, again = REMOVALS[name](marked, thief), REMOVALS[name](marked, thief)
    assert all(torch.equal(value, marked.state_dict()[key]) for key, value in before.items())
    assert all(torch.equal(value, again.state_dict()[key]) for key, value in first.state_dict().items())
    images = data.images[:8]
    assert not torch.equal(all_features(first, images, compute), all_features(marked, images, compute))


def test_pruning_takes_the_share_of_the_weights(
    marked: Classifier, data: ImageSet, config: Config, compute: Compute
) -> None:
    pruned = REMOVALS["pruning"](marked, Thief(data, config.user, compute, 0))
    weights = torch.cat([m.weight.flatten() for m in pruned.modules() if isinstance(m, torch.nn.Conv2d)])
    assert float((weights == 0).double().mean()) == pytest.approx(0.6, abs=0.01)


@pytest.mark.parametrize("family", list(FAMILIES))
def test_stray_marks_differ_from_image_to_image(family: str) -> None:
    images = shapes(12, 1, size=32, channels=3).images
    change = FAMILIES[family].stray(images, seeds.generator(0, "stray"))
    assert change.shape == images.shape
    assert change.abs().max() <= 1
    unit = F.normalize(change.flatten(1), dim=1)
    assert (unit @ unit.T - torch.eye(12)).abs().max() < 0.99
