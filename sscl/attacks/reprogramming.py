"""REFINE (Chen et al. 2025): a network in front of the model redraws every query, and answers stand for other classes.

Clean images alone teach the network, so it has no reason to redraw a mark.
"""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Removal, Wrapped
from sscl.models import Classifier
from sscl.models.unet import build_unet

WIDTH = 8
TOGETHER, TEMPERATURE = 0.1, 0.07  # weight of the supervised contrastive loss (the authors'), and its temperature


class Reprogrammed(Wrapped):
    """``inner`` behind ``redraw``; class ``k`` is read from the answer to class ``places[k]``."""

    places: Tensor

    def __init__(self, inner: Classifier, redraw: nn.Module, places: Tensor) -> None:
        super().__init__(inner)
        self.redraw = redraw
        self.register_buffer("places", places)

    def redrawn(self, x: Tensor) -> Tensor:
        """What ``inner`` is shown: float (N, C, H, W) in [0, 1]."""
        images: Tensor = self.redraw(x).sigmoid()  # a clamp has no gradient where it holds
        return images

    def read(self, images: Tensor) -> Tensor:
        """Logits (N, classes) of redrawn images."""
        logits: Tensor = self.inner(images)
        return logits[:, self.places]

    def forward(self, x: Tensor) -> Tensor:
        return self.read(self.redrawn(x))


def displaced(classes: int, rng: torch.Generator) -> Tensor:
    """int64 (classes,): a random order in which no class has its own place."""
    while True:
        order = torch.randperm(classes, generator=rng)
        if classes == 1 or not (order == torch.arange(classes)).any():
            return order


def contrastive_loss(images: Tensor, labels: Tensor) -> Tensor:
    """Scalar loss to minimise: images (N, C, H, W) of one class are to be alike (SupCon; Khosla et al. 2020)."""
    flat = F.normalize(images.flatten(1), dim=1)
    apart = ~torch.eye(len(flat), dtype=torch.bool, device=flat.device)
    likeness = (flat @ flat.T / TEMPERATURE).masked_fill(~apart, -torch.inf)
    same = (labels[:, None] == labels) & apart
    chosen = likeness.log_softmax(dim=1).masked_fill(~same, 0.0).sum(dim=1)
    having = same.any(dim=1)
    return -(chosen[having] / same.sum(dim=1)[having]).mean() if having.any() else chosen.sum() * 0.0


class Reprogramming(Removal):
    """On the attacker's clean images, labelled by the model itself, for fewer epochs than the authors' 150."""

    unit, usual, grid, integral = "epochs", 20, (5, 20), True
    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        rng = seeds.generator(attacker.seed, "reprogramming")
        places = displaced(model.classes, rng)
        attacked = Reprogrammed(model, build_unet(model.channels, WIDTH, rng), places)
        attacker.compute.place(attacked).requires_grad_(False).eval()

        def loss(x: Tensor) -> Tensor:
            with torch.no_grad():
                wanted = model(x).argmax(dim=1)
            images = attacked.redrawn(x)
            answers = attacked.read(images).softmax(dim=1)
            apart = F.binary_cross_entropy(answers, F.one_hot(wanted, model.classes).to(answers.dtype))
            return apart + TOGETHER * contrastive_loss(images, wanted)

        attacker.fit(attacked.redraw.requires_grad_(True), int(strength), "reprogramming", rng=rng, loss=loss)
        return attacked


REMOVALS.register("reprogramming")(Reprogramming())
