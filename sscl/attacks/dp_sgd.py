"""DP-SGD: training that promises how little any one image can change the model."""

from __future__ import annotations

import math

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl.attacks.base import REMOVALS, Attacker
from sscl.attacks.robust_training import RobustTraining
from sscl.compute import uncompiled
from sscl.models import Classifier
from sscl.train import Practice, fresh

CLIP = 1.0  # longest gradient of one image
GROUPS = 32  # most groups of channels that are normalised together
AT_A_TIME = 64  # gradients of single images that are in memory together


class PrivateGradients(Practice):
    """The mean of the images' clipped gradients, plus noise, for networks without batch normalisation."""

    def __init__(self, multiplier: float) -> None:
        self.multiplier, self._batch = multiplier, 1

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """A weighted loss whose gradient is the mean of the clipped ones."""
        model = uncompiled(model)
        self._batch = len(x)
        with torch.autocast(x.device.type, enabled=False):
            smooth = self.label_smoothing
            weights = CLIP / gradient_lengths(model, x, labels, smooth).clamp(min=CLIP)
            each = F.cross_entropy(model(x), labels, reduction="none", label_smoothing=smooth)
            return (weights * each).mean()

    def adjust(self, model: Classifier, rng: torch.Generator) -> None:
        for parameter in model.parameters():
            if parameter.grad is not None:
                noise = torch.randn(parameter.grad.shape, generator=rng) * (self.multiplier * CLIP / self._batch)
                parameter.grad += noise.to(parameter.grad.device)


def gradient_lengths(model: Classifier, x: Tensor, labels: Tensor, label_smoothing: float = 0.0) -> Tensor:
    """Euclidean length of each image's own gradient of the cross-entropy: float (N,), for images (N, C, H, W)."""
    weights = {name: parameter.detach() for name, parameter in model.named_parameters()}
    buffers = dict(model.named_buffers())

    def loss(weights: dict[str, Tensor], image: Tensor, label: Tensor) -> Tensor:
        logits = torch.func.functional_call(model, (weights, buffers), (image[None],))
        return F.cross_entropy(logits, label[None], label_smoothing=label_smoothing)

    def length(image: Tensor, label: Tensor) -> Tensor:
        gradients = torch.func.grad(loss)(weights, image, label)
        return torch.stack([part.float().square().sum() for part in gradients.values()]).sum().sqrt()

    found: Tensor = torch.func.vmap(length, chunk_size=AT_A_TIME)(x, labels)
    return found


def without_batches(network: nn.Module) -> None:
    """Replace batch normalisation, which mixes images, by group normalisation, in place; as Opacus does."""
    for name, part in network.named_children():
        if isinstance(part, nn.BatchNorm2d):
            groups = math.gcd(GROUPS, part.num_features)
            setattr(network, name, nn.GroupNorm(groups, part.num_features, device=part.weight.device))
        else:
            without_batches(part)


class DPSGD(RobustTraining):
    """Abadi et al. 2016, "Deep learning with differential privacy": gradients clipped an image, and Gaussian noise.

    ``strength`` is the noise's standard deviation over the clipping length. Batches are those of an ordinary training,
    shuffled and not sampled, as in most implementations. Batch normalisation becomes group normalisation. No epsilon is
    computed; the normalisation of inputs is taken from the data without noise.
    """

    unit, usual, grid = "noise multiplier", 1.0, (0.5, 1.0)
    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        practice, use = self.practice(strength), "dpsgd"
        start = fresh(attacker.released, attacker.training, attacker.seed, use)
        without_batches(start)
        return attacker.trained(attacker.released, use, practice, start=start)

    def practice(self, strength: float) -> Practice:
        return PrivateGradients(strength)


REMOVALS.register("dp_sgd")(DPSGD())
