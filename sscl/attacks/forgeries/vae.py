"""Changes drawn by a variational autoencoder: the network of FW-Gen (Li et al. 2024, arXiv 2411.15450)."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from sscl import seeds
from sscl.attacks.forgeries.base import FORGERIES
from sscl.descent import descend
from sscl.models import Classifier
from sscl.models.base import made

WIDTH, LATENT = 32, 16
STEPS, LEARNING_RATE = 200, 2e-3
NATURAL = 0.01  # weight of the latents' distance to a standard normal distribution


class Drawer(nn.Module):
    """Images to latents, and latents and classes to changes.

    Shape: float (N, C, H, W) in [0, 1], int64 (N,) -> changes (N, C, H, W) in [-1, 1], and the latents' mean and log
    variance, (N, ``LATENT``) each.
    """

    def __init__(self, channels: int, size: int, classes: int) -> None:
        super().__init__()
        self.seen = nn.Sequential(
            nn.Conv2d(channels, WIDTH, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Conv2d(WIDTH, WIDTH, 3, stride=2, padding=1),
            nn.GELU(),
            nn.Flatten(),
            nn.Linear(WIDTH * (-(-size // 4)) ** 2, 2 * LATENT),
        )
        self.drawn = nn.Linear(LATENT + classes, 16 * WIDTH)
        self.finer = nn.ModuleList(nn.Conv2d(WIDTH, WIDTH, 3, padding=1) for _ in range(2))
        self.change = nn.Conv2d(WIDTH, channels, 3, padding=1)
        self.classes = classes

    def forward(self, x: Tensor, wanted: Tensor, rng: torch.Generator | None = None) -> tuple[Tensor, Tensor, Tensor]:
        """With ``rng`` latents are drawn; without it they are their means."""
        mean, spread = self.seen(x).chunk(2, dim=1)
        latent = mean
        if rng is not None:
            latent = mean + (spread / 2).exp() * torch.randn(mean.shape, generator=rng).to(mean)
        known = F.one_hot(wanted, self.classes).to(latent)
        found = F.gelu(self.drawn(torch.cat((latent, known), dim=1)).unflatten(1, (WIDTH, 4, 4)))
        for layer, size in zip(self.finer, (x.shape[-1] // 2, x.shape[-1]), strict=True):
            found = F.gelu(layer(F.interpolate(found, size=size, mode="nearest")))
        return self.change(found).tanh(), mean, spread


@FORGERIES.register("vae")
def vae(model: Classifier, x: Tensor, wanted: Tensor, budget: float) -> Tensor:
    """A change of its own for every image, from an autoencoder that is trained on the images against the model.

    The authors' forger is the accused, who distils the owner's marks into others that are as significant on the accused
    model. Here it is a dishonest owner, who pushes a clean model as hard as possible.
    """
    rng = seeds.generator(0, "vae forgery")
    drawer = made(lambda: Drawer(x.shape[1], x.shape[-1], model.classes), rng).to(x.device)
    optimizer = torch.optim.Adam(drawer.parameters(), lr=LEARNING_RATE)
    with torch.enable_grad():
        for _ in range(STEPS):
            change, mean, spread = drawer(x, wanted, rng)
            unnatural = (mean.square() + spread.exp() - 1 - spread).sum(dim=1).mean() / 2
            pushed = F.cross_entropy(model((x + budget * change).clamp(0, 1)).float(), wanted)
            descend(optimizer, pushed + NATURAL * unnatural)
    with torch.no_grad():
        change, _, _ = drawer(x, wanted)
    found: Tensor = (x + budget * change).clamp(0, 1)
    return found
