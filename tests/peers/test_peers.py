"""Peers keep their level on models that never saw the release, and find one that remembers it."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy import stats
from torch import Tensor

from sscl.keystream import Keystream
from sscl.peers import PEERS, Evidence
from sscl.peers.base import Ask
from sscl.types import ImageSet, Responses
from tests.conftest import shapes

DATA = shapes(300, 1)


def evidence_of(name: str, number: int = 0) -> tuple[ImageSet, Evidence]:
    return PEERS[name].release(DATA, 0.2, 8 / 255, Keystream(bytes([number]) * 32))


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


@pytest.mark.parametrize("name", list(PEERS))
def test_the_release_is_the_dataset_but_for_the_evidence(name: str) -> None:
    released, evidence = evidence_of(name)
    again, _ = evidence_of(name)
    assert torch.equal(released.images, again.images)
    there = {image.numpy().tobytes() for image in released.images}
    assert all(image.numpy().tobytes() in there for image in evidence.published.images)
    assert not any(image.numpy().tobytes() in there for image in evidence.withheld.images)
    assert len(evidence.published) == len(evidence.withheld)
    if name == "twins":
        assert len(released) == len(DATA)
        assert (released.images.int() - DATA.images.int()).abs().max() <= 8
        assert torch.equal(released.labels, DATA.labels)


@pytest.mark.parametrize("name", list(PEERS))
def test_what_remembers_is_found_and_queries_are_counted(name: str) -> None:
    released, evidence = evidence_of(name)
    asked = 0
    answer = remembers(released.images, 0.15)

    def ask(images: Tensor) -> Responses:
        nonlocal asked
        asked += len(images)
        return answer(images)

    one_class = Evidence(
        *(ImageSet(p.images, p.labels * 0, p.class_names) for p in (evidence.published, evidence.withheld))
    )
    assert PEERS[name].p_value(ask, one_class, 60) <= 1e-4
    assert asked == 60


@pytest.mark.slow
@pytest.mark.parametrize("name", list(PEERS))
def test_the_level_holds_on_models_that_saw_nothing(name: str) -> None:
    ask = remembers(torch.zeros(0), 0.3)
    found = []
    for number in range(200):
        _, evidence = PEERS[name].release(DATA, 0.2, 8 / 255, Keystream(number.to_bytes(32, "big")))
        found.append(PEERS[name].p_value(ask, evidence, 60))
    accused = sum(p <= 0.05 for p in found)
    assert stats.binomtest(accused, len(found), 0.05, "greater").pvalue > 1e-3
