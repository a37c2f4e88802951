"""What every registered attack promises."""

from __future__ import annotations

import copy
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from sscl import seeds
from sscl.attacks import DETECTORS, INVERSIONS, REMOVALS, Attacker
from sscl.attacks.hybrids import Hybrid
from sscl.attacks.neural_cleanse import NeuralCleanse
from sscl.attacks.robust_training import RobustTraining
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.errors import InputError
from sscl.models import Classifier
from sscl.models.io import load_classifier, save_classifier
from sscl.train import predict, train_classifier
from sscl.types import ImageSet
from tests.conftest import FILE, shapes

TRAINING = TrainConfig("lenet5", 4, 16, "adam", 2e-3, 0.0, "onecycle", "none")


@pytest.fixture(scope="module")
def attacker(compute: Compute) -> Attacker:
    return Attacker(shapes(30, 1), shapes(60, 2), TRAINING, compute, 0, FILE)


@pytest.fixture(scope="module")
def model(attacker: Attacker) -> Classifier:
    return train_classifier(attacker.released, TRAINING, attacker.compute, seed=0, use="victim").model


def weights(model: Classifier) -> dict[str, torch.Tensor]:
    return {name: value.clone() for name, value in model.state_dict().items()}


def weak(name: str) -> float:
    """A strength that is cheap and does something."""
    attack = REMOVALS[name]
    if isinstance(attack, Hybrid):
        return attack.grid[0]
    return 1.0 if attack.unit in ("epochs", "rounds") else attack.grid[-1]


@pytest.mark.parametrize("name", list(REMOVALS))
def test_removal_of_strength_zero_changes_nothing(name: str, model: Classifier, attacker: Attacker) -> None:
    attacked = REMOVALS[name](model, attacker, 0)
    assert attacked is not model
    assert weights(attacked).keys() == weights(model).keys()
    assert all(torch.equal(a, b) for a, b in zip(weights(attacked).values(), weights(model).values(), strict=True))
    x = attacker.clean.images
    assert torch.equal(predict(attacked, x, attacker.compute), predict(model, x, attacker.compute))


@pytest.mark.parametrize("name", list(REMOVALS))
def test_removal_is_repeatable_and_leaves_the_model_alone(name: str, model: Classifier, attacker: Attacker) -> None:
    before = weights(model)
    x = attacker.released.images
    first, again = (predict(REMOVALS[name](model, attacker, weak(name)), x, attacker.compute) for _ in range(2))
    assert torch.equal(first, again)
    assert not torch.equal(first, predict(model, x, attacker.compute))
    assert all(torch.equal(a, b) for a, b in zip(weights(model).values(), before.values(), strict=True))


@pytest.mark.slow
@pytest.mark.parametrize("name", list(REMOVALS))
def test_what_differs_in_its_weights_alone_can_be_kept_in_a_file(
    name: str, attacker: Attacker, compute: Compute, tmp_path: Path
) -> None:
    training = replace(TRAINING, model="resnet8", epochs=1)
    attacker = replace(attacker, training=training)
    model = train_classifier(attacker.clean, training, compute, seed=0, use="victim").model
    attacked = REMOVALS[name](model, attacker, weak(name))
    save_classifier(tmp_path / "model.safetensors", attacked)
    if REMOVALS[name].weights_only:
        again = compute.place(load_classifier(tmp_path / "model.safetensors")[0])
        x = attacker.clean.images
        assert torch.equal(predict(again, x, compute), predict(attacked, x, compute))
    else:
        with pytest.raises(InputError, match="weights do not fit"):
            load_classifier(tmp_path / "model.safetensors")


@pytest.mark.parametrize("name", [name for name in REMOVALS if isinstance(REMOVALS[name], RobustTraining)])
def test_robust_training_works_in_half_precision(name: str, model: Classifier, attacker: Attacker) -> None:
    """As on a GPU, where autocast is on."""
    practice, trained = REMOVALS[name].practice(REMOVALS[name].usual), copy.deepcopy(model).requires_grad_(True).train()
    x = attacker.compute.floats(attacker.released.images)
    labels = attacker.released.labels.to(x.device)
    with torch.autocast(x.device.type, torch.bfloat16):
        loss = practice.loss(trained, x, labels, seeds.generator(0, "half"))
    loss.backward()
    assert loss.isfinite()


@pytest.mark.parametrize("name", list(REMOVALS))
def test_removal_refuses_nonsense(name: str, model: Classifier, attacker: Attacker) -> None:
    with pytest.raises(ValueError, match="at least 0"):
        REMOVALS[name](model, attacker, -1)
    if REMOVALS[name].integral:
        with pytest.raises(ValueError, match="at least 0"):
            REMOVALS[name](model, attacker, 1.5)


@pytest.mark.parametrize("name", list(DETECTORS))
def test_detector_scores_are_finite_and_repeatable(name: str, model: Classifier, attacker: Attacker) -> None:
    first, again = (DETECTORS[name](attacker.released, model, attacker) for _ in range(2))
    assert first.shape == (60,)
    assert first.dtype == np.float64
    assert np.array_equal(first, again)
    assert len(np.unique(first)) > 1


@pytest.mark.slow
@pytest.mark.parametrize("name", list(INVERSIONS))
def test_trigger_inversion_scores_every_class_repeatably(
    name: str, model: Classifier, attacker: Attacker, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(NeuralCleanse, "steps", 20)
    first, again = (INVERSIONS[name].score(model, attacker) for _ in range(2))
    assert first.shape == (model.classes,)
    assert np.isfinite(first).all()
    assert np.array_equal(first, again)


@pytest.mark.parametrize("name", [name for name in DETECTORS if DETECTORS[name].looks_at == "queries"])
def test_detectors_of_queries_do_not_look_at_labels(name: str, model: Classifier, attacker: Attacker) -> None:
    data = attacker.released
    shuffled = ImageSet(
        data.images, data.labels[torch.randperm(60, generator=seeds.generator(0, "x"))], data.class_names
    )
    assert np.array_equal(DETECTORS[name](data, model, attacker), DETECTORS[name](shuffled, model, attacker))


def test_the_model_is_not_left_trainable(model: Classifier, attacker: Attacker) -> None:
    attacked = REMOVALS["fine_tuning"](copy.deepcopy(model), attacker, 1)
    assert not any(parameter.requires_grad for parameter in attacked.parameters())
    assert not attacked.training
