"""Exact peers keep their level on models that never saw the release, and find one that remembers it."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from sscl import seeds
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.errors import InputError
from sscl.keystream import Keystream
from sscl.models import Classifier
from sscl.peers import PEERS, Owner, Pairs, Peer
from sscl.peers.base import Ask
from sscl.peers.crafted import crafted
from sscl.peers.data_taggants import KEYS, Keys
from sscl.peers.domain_watermark import Domain, generator, moved
from sscl.peers.dyepack import Backdoors
from sscl.train import benign_accuracy, train_classifier
from sscl.types import ImageSet, Responses
from sscl.watermarks.gradient_matching import mismatch, parameter_gradient
from tests.conftest import shapes

DATA = shapes(300, 1)


COMPARING = ("twins", "withheld")  # what a model answers to images that were published, and to others


@pytest.fixture(scope="module")
def surrogate(compute: Compute) -> Classifier:
    training = TrainConfig("lenet5", 3, 16, "adam", 2e-3, 0.0, "onecycle", "none")
    return train_classifier(DATA, training, compute, seed=0, use="surrogate").model


@pytest.fixture
def few_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    """Enough to change images."""
    monkeypatch.setattr("sscl.peers.crafted.STEPS", 1)
    monkeypatch.setattr("sscl.peers.domain_watermark.STEPS", 2)


def owner(surrogate: Classifier, compute: Compute, number: int = 0) -> Owner:
    return Owner(surrogate, compute, Keystream(number.to_bytes(32, "big")))


def remembers(images: Tensor, noise: float, seed: int = 0) -> Ask:
    """A model that is surer of what it was trained on; answers repeat for an image."""
    known = {image.numpy().tobytes() for image in images}

    def ask(asked: Tensor) -> Responses:
        rows = []
        for image in asked:
            content = image.numpy().tobytes()
            rng = np.random.default_rng([seed, *content[300:420]])
            sure = 0.6 + 0.2 * (content in known) + noise * rng.uniform(-1, 1)
            rows.append([sure, (1 - sure) / 2, (1 - sure) / 2])
        return Responses(np.array(rows))

    return ask


@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", list(PEERS))
def test_a_release_repeats_and_keeps_labels_and_bounds(name: str, surrogate: Classifier, compute: Compute) -> None:
    released, _ = PEERS[name].release(DATA, 0.2, 8 / 255, owner(surrogate, compute))
    again, _ = PEERS[name].release(DATA, 0.2, 8 / 255, owner(surrogate, compute))
    other, _ = PEERS[name].release(DATA, 0.2, 8 / 255, owner(surrogate, compute, 1))
    assert torch.equal(released.images, again.images)
    assert not (torch.equal(released.images, other.images) and torch.equal(released.labels, other.labels))
    if len(released) == len(DATA):
        assert int((released.images.int() - DATA.images.int()).abs().max()) <= 8
        assert torch.equal(released.labels, DATA.labels) == PEERS[name].clean_label


@pytest.mark.parametrize("name", COMPARING)
def test_what_was_published_is_in_the_release_and_its_pair_is_not(
    name: str, surrogate: Classifier, compute: Compute
) -> None:
    released, evidence = PEERS[name].release(DATA, 0.2, 8 / 255, owner(surrogate, compute))
    there = {image.numpy().tobytes() for image in released.images}
    assert all(image.numpy().tobytes() in there for image in evidence.published.images)
    assert not any(image.numpy().tobytes() in there for image in evidence.withheld.images)
    assert len(evidence.published) == len(evidence.withheld)


@pytest.mark.parametrize("name", COMPARING)
def test_what_remembers_is_found_and_queries_are_counted(name: str, surrogate: Classifier, compute: Compute) -> None:
    released, evidence = PEERS[name].release(DATA, 0.2, 8 / 255, owner(surrogate, compute))
    asked = 0
    answer = remembers(released.images, 0.15)

    def ask(images: Tensor) -> Responses:
        nonlocal asked
        asked += len(images)
        return answer(images)

    one_class = Pairs(
        *(ImageSet(p.images, p.labels * 0, p.class_names) for p in (evidence.published, evidence.withheld))
    )
    assert PEERS[name].p_value(ask, one_class, 60) <= 1e-4
    assert asked == 60


@pytest.mark.slow
@pytest.mark.usefixtures("few_steps")
@pytest.mark.parametrize("name", [name for name in PEERS if PEERS[name].exact])
def test_the_level_holds_on_models_that_saw_nothing(name: str, surrogate: Classifier, compute: Compute) -> None:
    ask = remembers(torch.zeros(0), 0.3)
    peer: Peer[Any] = PEERS[name]
    found = []
    for number in range(100 if name in COMPARING else 25):
        _, evidence = peer.release(DATA, 0.2, 8 / 255, owner(surrogate, compute, number))
        found.append(peer.p_value(ask, evidence, 60))
    accused = sum(p <= 0.05 for p in found)
    assert stats.binomtest(accused, len(found), 0.05, "greater").pvalue > 1e-3


@pytest.mark.usefixtures("few_steps")
def test_keys_are_counted_as_a_binomial_variable(surrogate: Classifier, compute: Compute) -> None:
    """Held against scipy, for a model that knows the labels of the first keys and is wrong about the others."""
    _, keys = PEERS["data_taggants"].release(DATA, 0.2, 8 / 255, owner(surrogate, compute))
    assert isinstance(keys, Keys)
    for known in (0, 5, 12, KEYS):
        answers = torch.cat((keys.labels[:known], (keys.labels[known:] + 1) % 3))

        def ask(images: Tensor, answers: Tensor = answers) -> Responses:
            return Responses.of_labels(answers[: len(images)].numpy(), 3)

        expected = stats.binom.sf(known - 1, KEYS, 1 / 3)
        assert PEERS["data_taggants"].p_value(ask, keys, 4000) == pytest.approx(expected)


def test_backdoors_are_counted_as_a_binomial_variable(surrogate: Classifier, compute: Compute) -> None:
    """Of a model that answers most images under the first triggers with the target, and others with another class."""
    released, backdoors = PEERS["dyepack"].release(DATA, 0.2, 8 / 255, owner(surrogate, compute))
    assert isinstance(backdoors, Backdoors)
    count, asked = len(backdoors.targets), list[int]()
    for known in (0, 3, count):
        asked.clear()

        def ask(images: Tensor, known: int = known) -> Responses:
            target = int(backdoors.targets[len(asked)])
            answer = target if len(asked) < known else (target + 1) % 3
            asked.append(len(images))
            few = np.arange(len(images)) % 3 == 0  # a third is answered otherwise
            return Responses.of_labels(np.where(few, (answer + 2) % 3, answer), 3)

        expected = stats.binom.sf(known - 1, count, 1 / 3)
        assert PEERS["dyepack"].p_value(ask, backdoors, 60) == pytest.approx(expected)
        assert sum(asked) == 60
    changed = (released.images != DATA.images).flatten(1).any(dim=1)
    assert int(changed.sum()) == 60
    assert not (released.labels != DATA.labels)[~changed].any()


def test_crafted_images_pull_toward_their_key(surrogate: Classifier, compute: Compute) -> None:
    """Their gradient is nearer to the key's."""
    images = DATA.subset(torch.nonzero(DATA.labels == 1).flatten()[:40])
    key = torch.randint(0, 256, images.images.shape[1:], generator=seeds.generator(0, "key"), dtype=torch.uint8)
    lesson = ImageSet(key[None], images.labels[:1], images.class_names)
    changed = crafted(images, lesson, 32 / 255, owner(surrogate, compute))
    model = copy.deepcopy(surrogate).requires_grad_(True).eval()
    labels = images.labels.to(compute.device)
    wanted = parameter_gradient(F.cross_entropy(model(compute.floats(key[None])), labels[:1]), model)
    before, after = (
        float(mismatch(model, compute.floats(x), labels, wanted).detach()) for x in (images.images, changed)
    )
    assert after < before - 0.05


@pytest.mark.slow
def test_the_domain_is_hard_for_the_surrogate(
    surrogate: Classifier, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Which knows the plain images."""
    monkeypatch.setattr("sscl.peers.domain_watermark.STEPS", 80)
    monkeypatch.setattr("sscl.peers.domain_watermark.BATCH", 16)
    own, images = owner(surrogate, compute), DATA.subset(torch.nonzero(DATA.labels == 1).flatten())
    hard = ImageSet(moved(generator(images, own), images.images, own), images.labels, images.class_names)
    assert benign_accuracy(surrogate, images, compute) > 0.9
    assert benign_accuracy(surrogate, hard, compute) < 0.5


@pytest.mark.usefixtures("few_steps")
def test_a_domain_needs_a_class_with_images_to_mark_and_to_ask_about(surrogate: Classifier, compute: Compute) -> None:
    few = ImageSet(DATA.images[:8], torch.tensor([0, 0, 0, 1, 1, 1, 1, 1]), DATA.class_names)
    for number in range(4):
        released, evidence = PEERS["domain_watermark"].release(few, 0.5, 8 / 255, owner(surrogate, compute, number))
        assert evidence.label == 1
        assert int((released.images != few.images).flatten(1).any(dim=1).sum()) == 2
        refused = Responses.of_labels(np.full(len(evidence.plain), -1), 3)
        assert PEERS["domain_watermark"].p_value(lambda _, r=refused: r, evidence, 60) == 1.0
    with pytest.raises(InputError, match="at least 4 images"):
        PEERS["domain_watermark"].release(few.subset(torch.arange(6)), 0.5, 8 / 255, owner(surrogate, compute))


def test_the_domains_test_is_a_paired_t_test() -> None:
    """Held against scipy's, for a model that is less sure in the domain; one that is as sure everywhere is accused."""
    images = torch.arange(40, dtype=torch.uint8)[:, None, None, None].expand(40, 1, 2, 2)
    domain = Domain(images, images + 100, label=2)
    drawn = np.random.default_rng(0).uniform(0.2, 0.4, 40)

    def ask(asked: Tensor) -> Responses:
        number = asked[:, 0, 0, 0].numpy()
        sure = np.where(number < 100, 0.8, 0.8 - drawn[number % 100])
        return Responses(np.stack(((1 - sure) / 2, (1 - sure) / 2, sure), axis=1))

    peer = PEERS["domain_watermark"]
    expected = stats.ttest_rel(0.8 - drawn[:30] + 0.25, np.full(30, 0.8), alternative="greater").pvalue
    assert peer.p_value(ask, domain, 60) == pytest.approx(expected)
    assert peer.p_value(lambda asked: Responses(np.full((len(asked), 3), 1 / 3)), domain, 60) == pytest.approx(0)
