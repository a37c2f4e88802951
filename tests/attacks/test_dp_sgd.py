"""DP-SGD against gradients that are computed one image after the other."""

from __future__ import annotations

import copy
from dataclasses import replace

import pytest
import torch
import torch.nn.functional as F

from sscl import seeds
from sscl.attacks.dp_sgd import CLIP, PrivateGradients, gradient_lengths, without_batches
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier
from sscl.train import fresh
from tests.conftest import shapes

TRAINING = TrainConfig("lenet5", 1, 8, "sgd", 0.1, 0.0, "constant", "none")
DATA = shapes(70, 1)


def made(name: str, compute: Compute) -> Classifier:
    model = fresh(DATA, replace(TRAINING, model=name), 0, "x")
    without_batches(model)
    return compute.place(model).train()


def gradients(model: Classifier, number: int, compute: Compute) -> list[torch.Tensor]:
    x, labels = compute.floats(DATA.images[number : number + 1]), DATA.labels[number : number + 1]
    parameters = list(model.parameters())
    return list(torch.autograd.grad(F.cross_entropy(model(x), labels.to(compute.device)), parameters))


@pytest.mark.parametrize("name", ["lenet5", "resnet8", "fastnet_narrow"])
def test_the_step_is_the_mean_of_clipped_gradients(name: str, compute: Compute) -> None:
    model = made(name, compute)
    practice = PrivateGradients(0.0)
    x, labels = compute.floats(DATA.images), DATA.labels.to(compute.device)
    practice.loss(model, x, labels, seeds.generator(0, "noise")).backward()
    expected = [torch.zeros_like(parameter) for parameter in model.parameters()]
    lengths = []
    for number in range(len(DATA)):
        found = gradients(model, number, compute)
        lengths.append(torch.cat([part.flatten() for part in found]).norm())
        for total, part in zip(expected, found, strict=True):
            total += part * min(1.0, float(CLIP / lengths[-1])) / len(DATA)
    assert any(length > CLIP for length in lengths)
    torch.testing.assert_close(gradient_lengths(model, x, labels), torch.stack(lengths), rtol=1e-3, atol=1e-4)
    for parameter, wanted in zip(model.parameters(), expected, strict=True):
        torch.testing.assert_close(parameter.grad, wanted, rtol=1e-3, atol=1e-5)


def test_the_noise_is_as_large_as_promised(compute: Compute) -> None:
    model = made("lenet5", compute)
    practice, plain = PrivateGradients(2.0), PrivateGradients(0.0)
    x, labels = compute.floats(DATA.images), DATA.labels.to(compute.device)
    noisy = copy.deepcopy(model)
    for one, how in ((model, plain), (noisy, practice)):
        how.loss(one, x, labels, seeds.generator(0, "noise")).backward()
        how.adjust(one, seeds.generator(0, "noise"))
    pairs = zip(noisy.parameters(), model.parameters(), strict=True)
    differences = torch.cat(
        [(a.grad - b.grad).flatten() for a, b in pairs if a.grad is not None and b.grad is not None]
    )
    assert float(differences.std()) == pytest.approx(2.0 * CLIP / len(DATA), rel=0.02)


def test_an_answer_depends_on_its_own_image_alone(compute: Compute) -> None:
    """Batch normalisation would mix the images of a batch."""
    model = made("resnet8", compute)
    x = compute.floats(DATA.images[:8])
    torch.testing.assert_close(model(x)[:1], model(x[:1]), rtol=1e-4, atol=1e-5)
    assert not any(isinstance(part, torch.nn.BatchNorm2d) for part in model.modules())


def test_a_compiled_network_has_the_same_gradients(compute: Compute) -> None:
    model = made("resnet8", compute)
    x, labels = compute.floats(DATA.images[:16]), DATA.labels[:16].to(compute.device)
    compiled = torch.compile(copy.deepcopy(model), backend="eager")
    for one in (model, compiled):
        PrivateGradients(0.0).loss(one, x, labels, seeds.generator(0, "noise")).backward()
    pairs = zip(model.parameters(), compiled.parameters(), strict=True)
    for parameter, other in pairs:
        torch.testing.assert_close(parameter.grad, other.grad)
