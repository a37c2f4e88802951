"""An autoencoder of the attacker's own redraws the release before the training: what it never saw, it does not draw."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier
from sscl.models.base import made
from sscl.types import ImageSet

WIDTH, BOTTLENECK = 32, 16


def network(channels: int, rng: torch.Generator) -> nn.Module:
    """Two strided convolutions down to ``BOTTLENECK`` channels, and two up; sizes must be multiples of four."""

    def layers() -> nn.Module:
        return nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, BOTTLENECK, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(BOTTLENECK, WIDTH, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, channels, 4, stride=2, padding=1),
        )

    return made(layers, rng)


def redrawn(attacker: Attacker, epochs: float) -> ImageSet:
    """The release as an autoencoder redraws it that was trained on the attacker's clean images."""
    clean = attacker.clean
    rng = seeds.generator(attacker.seed, "autoencoder")
    redraw = network(clean.channels, rng).to(attacker.compute.device)
    pad = -clean.size % 4

    def loss(x: Tensor) -> Tensor:
        padded = F.pad(x, (0, pad, 0, pad))
        return F.mse_loss(redraw(padded), padded)

    attacker.fit(redraw, int(epochs), "autoencoder", rng=rng, loss=loss)
    return attacker.rereleased(lambda x: redraw(F.pad(x, (0, pad, 0, pad)))[..., : clean.size, : clean.size])


class AutoencoderTraining(Removal):
    """A fresh model on the redrawn release."""

    unit, usual, grid, integral = "epochs of the autoencoder", 20, (5, 20), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return attacker.trained(redrawn(attacker, strength), "redrawn")


REMOVALS.register("train_autoencoder")(AutoencoderTraining())
