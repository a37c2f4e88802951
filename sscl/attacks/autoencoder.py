"""An autoencoder of the attacker's own redraws the release before the training: what it never saw, it does not draw."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier
from sscl.models.base import initialise
from sscl.types import ImageSet

WIDTH, BOTTLENECK = 32, 16


def network(channels: int, rng: torch.Generator) -> nn.Module:
    """Two strided convolutions down to ``BOTTLENECK`` channels, and two up; sizes must be multiples of four."""
    with torch.device("meta"):
        model = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, BOTTLENECK, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(BOTTLENECK, WIDTH, 4, stride=2, padding=1),
            nn.ReLU(),
            nn.ConvTranspose2d(WIDTH, channels, 4, stride=2, padding=1),
        )
    model = model.to_empty(device="cpu")
    initialise(model, rng)
    return model


def redrawn(attacker: Attacker, epochs: float) -> ImageSet:
    """The release as an autoencoder redraws it that was trained on the attacker's clean images."""
    compute, clean, released = attacker.compute, attacker.clean, attacker.released
    rng = seeds.generator(attacker.seed, "autoencoder")
    redraw = network(clean.channels, rng).to(compute.device)
    pad = -clean.size % 4

    def loss(x: Tensor) -> Tensor:
        padded = F.pad(x, (0, pad, 0, pad))
        return F.mse_loss(redraw(padded), padded)

    attacker.fit(redraw, int(epochs), "autoencoder", rng=rng, loss=loss)
    done = []
    with torch.no_grad():
        for images in torch.split(released.images, 1000):
            drawn = redraw(F.pad(compute.floats(images), (0, pad, 0, pad)))[..., : clean.size, : clean.size]
            done.append((drawn.clamp(0, 1) * 255).round().byte().cpu())
    return ImageSet(torch.cat(done), released.labels, released.class_names)


class AutoencoderTraining(Removal):
    """A fresh model on the redrawn release."""

    unit, usual, grid, integral = "epochs of the autoencoder", 20, (5, 20), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return attacker.trained(redrawn(attacker, strength), "redrawn")


REMOVALS.register("train_autoencoder")(AutoencoderTraining())
