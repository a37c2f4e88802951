"""BTI-DBF (Xu et al. 2024): find the features that clean images do not need, what moves them, and unlearn it."""

from __future__ import annotations

from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.descent import descend
from sscl.models import Classifier
from sscl.models.features import all_features, features, last_linear
from sscl.models.unet import UNet, build_unet
from sscl.train import Practice

WIDTH = 8
BOUND = 0.1  # of a change, of pixels in [0, 1]: faint, as marks are
STEPS, RATE = 200, 0.05  # of the mask
REDRAWING, UNLEARNING = 5, 2  # epochs a round, of the network that changes images and of fine-tuning
CHANGED = 0.5  # share of a batch that is unlearnt; the others keep the accuracy


def decoupled(inputs: Tensor, labels: Tensor, head: Callable[[Tensor], Tensor]) -> Tensor:
    """Which features clean images need: float (D,) in (0, 1), of features (N, D) and their labels.

    With these the head, from features to logits, is to answer rightly, and with the others wrongly.
    """
    weights = torch.zeros(inputs.shape[1], device=inputs.device, requires_grad=True)
    optimizer = torch.optim.Adam([weights], lr=RATE)
    for _ in range(STEPS):
        needed = weights.sigmoid()
        loss = F.cross_entropy(head(inputs * needed), labels) - F.cross_entropy(head(inputs * (1 - needed)), labels)
        descend(optimizer, loss)
    return weights.detach().sigmoid()


def inverted(x: Tensor, redraw: nn.Module) -> Tensor:
    """Images as the inverted trigger changes them, float (N, C, H, W) in [0, 1]."""
    return (x + BOUND * torch.tanh(redraw(x))).clamp(0, 1)


class Unlearning(Practice):
    """Some images of a batch are changed, and keep their labels."""

    def __init__(self, redraw: nn.Module) -> None:
        self.redraw = redraw

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        some = (torch.rand(len(x), generator=rng) < CHANGED).to(x.device)
        with torch.no_grad():
            changed = inverted(x, self.redraw)
        return self.cross_entropy(model(torch.where(some[:, None, None, None], changed, x)), labels)


class TriggerUnlearning(Removal):
    """On the attacker's clean images; every round inverts the trigger of the model so far, then unlearns it.

    Where it differs from the authors' code: the network that changes images is fresh in every round and not
    pre-trained, its changes are bounded by ``BOUND``, epochs are fewer, half of a batch is changed instead of a tenth,
    and unlearning is cross-entropy alone.
    """

    unit, usual, grid, integral = "rounds", 5, (1, 5), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        rng, clean = seeds.generator(attacker.seed, "trigger unlearning"), attacker.clean
        for number in range(int(strength)):
            model.requires_grad_(False)
            inputs = all_features(model, clean.images, attacker.compute).to(attacker.compute.device)
            needed = decoupled(inputs, clean.labels.to(inputs.device), last_linear(model))
            redraw = self._redraw(model, needed, attacker, rng)
            use = f"trigger unlearning {number}"
            model = attacker.fine_tuned(model, UNLEARNING, use, Unlearning(redraw.requires_grad_(False).eval()))
        return model

    def _redraw(self, model: Classifier, needed: Tensor, attacker: Attacker, rng: torch.Generator) -> UNet:
        """A network whose changes leave the features that are needed, and move the others."""
        redraw = build_unet(model.channels, WIDTH, rng).to(attacker.compute.device)

        def loss(x: Tensor) -> Tensor:
            with torch.no_grad():
                before = features(model, x)
            after = features(model, inverted(x, redraw))
            others = 1 - needed
            return F.mse_loss(after * needed, before * needed) - F.mse_loss(after * others, before * others)

        attacker.fit(redraw, REDRAWING, "trigger unlearning", rng=rng, loss=loss)
        return redraw


REMOVALS.register("trigger_unlearning")(TriggerUnlearning())
