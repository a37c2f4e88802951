"""Trainings of a fresh model on the released set that are meant not to learn a watermark."""

from __future__ import annotations

from abc import abstractmethod

import numpy as np
import torch
from torch import Tensor
from torchvision.transforms import v2

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.compute import pixels
from sscl.models import Classifier
from sscl.train import Practice
from sscl.watermarks.hiding import OVERSHOOT, pgd


class RobustTraining(Removal):
    """From scratch, by a practice of the given strength."""

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        practice = self.practice(strength)
        return attacker.trained(attacker.released, type(self).__name__.lower(), practice)

    @abstractmethod
    def practice(self, strength: float) -> Practice: ...


class _Mixup(Practice):
    def __init__(self, alpha: float) -> None:
        self.alpha = alpha

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (1,), generator=rng))
        share = np.random.default_rng(seed).beta(self.alpha, self.alpha)  # torch's Beta draws from the global state
        order = torch.randperm(len(x), generator=rng).to(x.device)
        answers = model(share * x + (1 - share) * x[order])
        return share * self.cross_entropy(answers, labels) + (1 - share) * self.cross_entropy(answers, labels[order])


class Mixup(RobustTraining):
    """Zhang et al. 2018: convex combinations of images and labels, weights from Beta(strength, strength)."""

    unit, usual, grid = "alpha of the Beta distribution", 1.0, (0.2, 1.0)

    def practice(self, strength: float) -> Practice:
        return _Mixup(strength)


class _RandAugment(Practice):
    def __init__(self, magnitude: int) -> None:
        self.transform = v2.RandAugment(num_ops=2, magnitude=magnitude)

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        seed = int(torch.randint(2**31, (1,), generator=rng))
        with seeds.global_state(seed):  # torchvision's transforms draw from it
            # image by image: on a GPU these would be thousands of tiny kernels, and autocast would round their grids
            images = [self.transform(image) for image in pixels(x)]
        return self.cross_entropy(model(torch.stack(images).to(x.device, x.dtype).div(255)), labels)


class RandAugment(RobustTraining):
    """Cubuk et al. 2020, two operations an image."""

    unit, usual, grid, integral = "magnitude of 30", 9, (5, 9, 15), True

    def practice(self, strength: float) -> Practice:
        return _RandAugment(int(strength))


class _Adversarial(Practice):
    def __init__(self, budget: float, steps: int = 3) -> None:
        self.budget, self.steps = budget, steps

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        model.requires_grad_(False).eval()
        change = pgd(
            x, labels, [model], budget=self.budget, steps=self.steps, step_size=OVERSHOOT * self.budget / self.steps
        )
        model.requires_grad_(True).train()
        return self.cross_entropy(model((x + change).clamp(0, 1)), labels)


class AdversarialTraining(RobustTraining):
    """Madry et al. 2018, three PGD steps a batch; their eps is 8 of 255 on CIFAR-10 and 77 on MNIST."""

    unit, usual, grid = "eps of 255", 4.0, (4.0, 8.0, 77.0)

    def practice(self, strength: float) -> Practice:
        return _Adversarial(strength / 255)


class _NoisyGradients(Practice):
    def __init__(self, multiplier: float) -> None:
        self.multiplier = multiplier

    def adjust(self, model: Classifier, rng: torch.Generator) -> None:
        norm = torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0).clamp(max=1.0)
        for parameter in model.parameters():
            if parameter.grad is not None:
                size = self.multiplier * norm / parameter.grad.numel() ** 0.5
                parameter.grad += torch.randn(parameter.grad.shape, generator=rng).to(parameter.grad.device) * size


class GradientNoise(RobustTraining):
    """Gradients clipped to length one, and noise of ``strength`` times their length in each parameter tensor.

    Like DP-SGD (Abadi et al. 2016) but clipped a batch and not an image, so it promises no privacy (Hong et al. 2020).
    """

    unit, usual, grid = "noise multiplier", 0.5, (0.1, 0.5, 1.0)

    def practice(self, strength: float) -> Practice:
        return _NoisyGradients(strength)


REMOVALS.register("mixup")(Mixup())
REMOVALS.register("rand_augment")(RandAugment())
REMOVALS.register("adversarial_training")(AdversarialTraining())
REMOVALS.register("gradient_noise")(GradientNoise())
