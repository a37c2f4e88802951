"""Forgeries push a model toward the wanted class, within their budget and repeatably."""

from __future__ import annotations

import pytest
import torch

from sscl.attacks.forgeries import FORGERIES
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier
from sscl.train import train_classifier
from tests.conftest import shapes

BUDGET = 0.2


@pytest.fixture(scope="module")
def model(compute: Compute) -> Classifier:
    training = TrainConfig("lenet5", 4, 16, "adam", 2e-3, 0.0, "onecycle", "none")
    return train_classifier(shapes(120, 1), training, compute, seed=0, use="own").model.requires_grad_(False)


@pytest.mark.parametrize("name", list(FORGERIES))
def test_it_pushes_toward_the_wanted_class(
    name: str, model: Classifier, compute: Compute, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sscl.attacks.forgeries.vae.STEPS", 60)
    x, wanted = compute.floats(shapes(30, 2).images), torch.arange(30, device=compute.device) % 3
    first, again = (FORGERIES[name](model, x, wanted, BUDGET) for _ in range(2))
    assert torch.equal(first, again)
    assert (first - x).abs().max() <= BUDGET + 1e-6
    assert first.min() >= 0
    assert first.max() <= 1
    before, after = (model(images).softmax(dim=1)[torch.arange(30), wanted].mean() for images in (x, first))
    assert after > before + 0.1


def test_a_universal_change_is_one_for_all(model: Classifier, compute: Compute) -> None:
    x = torch.full((6, 1, 28, 28), 0.5, device=compute.device)
    wanted = torch.tensor([0, 0, 0, 1, 1, 1], device=compute.device)
    changed = FORGERIES["uap"](model, x, wanted, BUDGET) - x
    assert torch.equal(changed[0], changed[2])
    assert not torch.equal(changed[0], changed[3])
