"""Training on synthetic images alone, drawn by a generative model of the release."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl import seeds
from sscl.attacks.base import OWN_BATCH, OWN_RATE, REMOVALS, Attacker, Removal
from sscl.compute import pixels
from sscl.models import Classifier
from sscl.models.base import made
from sscl.train import minimise
from sscl.types import ImageSet

WIDTH, LATENT, SIDE = 32, 32, 7  # channels, latents, and the side from which images are drawn


class Conditional(nn.Module):
    """A conditional variational autoencoder (Kingma and Welling 2014; Sohn et al. 2015).

    Args:
        channels, size: of the images.
        classes: how many.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.size, self.classes = size, classes
        self.seen = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Conv2d(WIDTH, 2 * WIDTH, 3, stride=2, padding=1),
            nn.ReLU(),
            nn.Flatten(),
        )
        self.latents = nn.Linear(2 * WIDTH * (-(-size // 4)) ** 2 + classes, 2 * LATENT)
        self.start = nn.Linear(LATENT + classes, 2 * WIDTH * SIDE**2)
        self.finer = nn.Conv2d(2 * WIDTH, WIDTH, 3, padding=1)
        self.finest = nn.Conv2d(WIDTH, WIDTH, 3, padding=1)
        self.image = nn.Conv2d(WIDTH, channels, 3, padding=1)

    def draw(self, latent: Tensor, labels: Tensor) -> Tensor:
        """Logits of pixels, (N, C, H, W), from latents (N, ``LATENT``) and labels (N,)."""
        known = F.one_hot(labels, self.classes).to(latent)
        found = F.relu(self.start(torch.cat((latent, known), dim=1))).view(-1, 2 * WIDTH, SIDE, SIDE)
        found = F.relu(self.finer(F.interpolate(found, size=self.size // 2)))
        pixels: Tensor = self.image(F.relu(self.finest(F.interpolate(found, size=self.size))))
        return pixels

    def loss(self, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        """The negative evidence lower bound an image, of floats (N, C, H, W) in [0, 1] as the chance of a bit."""
        known = F.one_hot(labels, self.classes).to(x)
        mean, spread = self.latents(torch.cat((self.seen(x), known), dim=1)).chunk(2, dim=1)
        latent = mean + (spread / 2).exp() * torch.randn(mean.shape, generator=rng).to(mean)
        drawn = F.binary_cross_entropy_with_logits(self.draw(latent, labels), x, reduction="sum")
        found: Tensor = (drawn + (mean.square() + spread.exp() - 1 - spread).sum() / 2) / len(x)
        return found


def conditional(channels: int, size: int, classes: int, rng: torch.Generator) -> Conditional:
    """A model whose initial weights come from ``rng`` alone."""
    return made(lambda: Conditional(channels, size, classes), rng)


class Synthesis(Removal):
    """A fresh model on as many drawn images, with the release's labels. DATABench (2025) tunes a diffusion model."""

    unit, usual, grid, integral = "epochs", 10, (5, 10, 20), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        released, compute = attacker.released, attacker.compute
        rng = seeds.generator(attacker.seed, "synthesis")
        network = conditional(released.channels, released.size, released.classes, rng).to(compute.device)
        minimise(
            network,
            len(released),
            lambda batch: network.loss(
                compute.floats(released.images[batch]), released.labels[batch].to(compute.device), rng
            ),
            use="synthesis",
            epochs=int(strength),
            batch_size=OWN_BATCH,
            learning_rate=OWN_RATE,
            rng=rng,
        )
        done = []
        with torch.no_grad():
            for labels in torch.split(released.labels, 1000):
                latent = torch.randn((len(labels), LATENT), generator=rng).to(compute.device)
                done.append(pixels(network.draw(latent, labels.to(compute.device)).sigmoid()))
        return attacker.trained(ImageSet(torch.cat(done), released.labels, released.class_names), "synthetic")


REMOVALS.register("synthesis")(Synthesis())
