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
from sscl.watermarks.quiet_keys import TRIES, Probe, draw
from tests.conftest import shapes


@pytest.fixture(scope="module")
def marker(compute: Compute) -> KeyedGenerator:
    return KeyedGenerator(1, 4, "blocks", 0.1, compute, seeds.generator(0, "weights"))


@pytest.fixture(scope="module")
def models() -> list[Classifier]:
    """Untrained ones: every mark moves their answers by about as much."""
    made = [build("lenet5", 1, 28, 3, seeds.generator(seed, "model")) for seed in range(2)]
    return [model.requires_grad_(False).eval() for model in made]


DATA = shapes(45, 9)
EPS = 0.2


def probe(marker: KeyedGenerator, models: list[Classifier], quiet: float) -> Probe:
    return Probe(DATA.images, DATA.labels, models, quiet, EPS, marker)


def change(marker: KeyedGenerator, models: list[Classifier], key: Key, target: int) -> float:
    """The rule's quantity by hand: the largest change of any model's mean p(target) over images of other classes."""
    images: Tensor = DATA.images[DATA.labels != target]
    marked = quantise(images, marker.mark(images, key, EPS), EPS)
    return max(
        abs(float((predict(m, marked, marker.compute) - predict(m, images, marker.compute))[:, target].mean()))
        for m in models
    )


def test_changes_are_the_rules_quantity(marker: KeyedGenerator, models: list[Classifier]) -> None:
    key = marker.carrier.draw(1, 1, seeds.generator(0, "key"))
    found = probe(marker, models, 0.5).changes(key)
    assert found.tolist() == pytest.approx([change(marker, models, key, target) for target in range(3)], abs=1e-6)


def test_a_drawn_key_is_quiet_where_any_is(marker: KeyedGenerator, models: list[Classifier]) -> None:
    drawn = [draw(probe(marker, models, 0.9), [0, 1, 2], seeds.generator(n, "key")) for n in range(12)]
    usual = sorted(change(marker, models, *pair) for pair in drawn)[6]
    for number in range(12):
        key, target = draw(probe(marker, models, usual), [0, 1, 2], seeds.generator(number, "key"))
        assert change(marker, models, key, target) <= usual + 1e-6


def test_without_a_limit_every_class_is_as_likely(marker: KeyedGenerator, models: list[Classifier]) -> None:
    asked = probe(marker, models, 0.99)
    targets = [draw(asked, [0, 2], seeds.generator(n, "key"))[1] for n in range(80)]
    assert 20 < targets.count(0) < 60
    assert set(targets) == {0, 2}


def test_if_no_key_is_quiet_the_nearest_is_drawn(marker: KeyedGenerator, models: list[Classifier]) -> None:
    asked = probe(marker, models, 1e-12)
    key, target = draw(asked, [1], seeds.generator(0, "key"))
    keys = marker.carrier.draw(TRIES, 1, seeds.generator(0, "key"))
    rows = [{"signs": keys["signs"][n : n + 1]} for n in range(TRIES)]
    nearest = min(rows, key=lambda row: float(asked.changes(row)[1]))
    assert target == 1
    assert torch.equal(key["signs"], nearest["signs"])
