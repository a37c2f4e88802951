"""Keys are drawn among those that hardly move clean models, by the same rule for all."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sscl import seeds
from sscl.compute import Compute
from sscl.models import Classifier, build
from sscl.train import predict
from sscl.watermarks.carriers import Key
from sscl.watermarks.keyed_generator import KeyedGenerator
from sscl.watermarks.quantise import quantise
from sscl.watermarks.quiet_keys import Probe, draw
from tests.conftest import shapes


@pytest.fixture(scope="module")
def marker(compute: Compute) -> KeyedGenerator:
    return KeyedGenerator(1, 4, "blocks", 0.1, compute, seeds.generator(0, "weights"))


@pytest.fixture(scope="module")
def models() -> list[Classifier]:
    """Untrained ones: every mark moves their answers by about as much."""
    made = [build("lenet5", 1, 28, 3, seeds.generator(seed, "model")) for seed in range(2)]
    return [model.requires_grad_(False).eval() for model in made]


def probe(models: list[Classifier], quiet: float, eps: float = 0.2) -> Probe:
    data = shapes(45, 9)
    return Probe(data.images, data.labels, models, quiet, eps)


def change(marker: KeyedGenerator, asked: Probe, key: Key, target: int) -> float:
    """The rule's quantity by hand: the largest change of any model's mean p(target) over images of other classes."""
    images: Tensor = asked.images[asked.labels != target]
    marked = quantise(images, marker.mark(images, key, asked.eps), asked.eps)
    return max(
        abs(float((predict(m, marked, marker.compute) - predict(m, images, marker.compute))[:, target].mean()))
        for m in asked.models
    )


def test_a_drawn_key_is_quiet_where_any_is(marker: KeyedGenerator, models: list[Classifier]) -> None:
    drawn = [draw(marker, probe(models, 0.9), [0, 1, 2], seeds.generator(n, "key")) for n in range(12)]
    usual = sorted(change(marker, probe(models, 0.9), *pair) for pair in drawn)[6]
    asked = probe(models, usual)
    for number in range(12):
        key, target = draw(marker, asked, [0, 1, 2], seeds.generator(number, "key"))
        assert change(marker, asked, key, target) <= usual + 1e-6


def test_without_a_limit_every_class_is_as_likely(marker: KeyedGenerator, models: list[Classifier]) -> None:
    targets = [draw(marker, probe(models, 0.99), [0, 2], seeds.generator(n, "key"))[1] for n in range(80)]
    assert 20 < targets.count(0) < 60
    assert set(targets) == {0, 2}


def test_if_no_key_is_quiet_one_is_drawn_all_the_same(marker: KeyedGenerator, models: list[Classifier]) -> None:
    key, target = draw(marker, probe(models, 1e-12), [1], seeds.generator(0, "key"))
    again, _ = draw(marker, probe(models, 1e-12), [1], seeds.generator(0, "key"))
    assert target == 1
    assert torch.equal(key["signs"], again["signs"])
    assert key["signs"].shape == (1, 1, 7, 7)
