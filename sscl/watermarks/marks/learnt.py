"""Learnt marks: waves, and beside them what a U-Net takes away of an image's natural evidence for its class."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl import progress
from sscl.data.augment import AUGMENTATIONS
from sscl.data.jpeg import encoded
from sscl.keystream import Keystream
from sscl.models.unet import UNet, build_unet
from sscl.perceptual import LPIPS
from sscl.train import schedule
from sscl.watermarks.marks.base import FAMILIES, Family, Lesson, Secret
from sscl.watermarks.marks.ripples import Ripples
from sscl.watermarks.marks.waves import Waves

NET = "net."  # of the U-Net's weights in the secret
WAVE = 0.6  # share of the strength that is the wave's; the rest is the U-Net's
WIDTH = 16  # channels of the U-Net's first level
STEPS, BATCH, LEARNING_RATE = 300, 128, 3e-3  # of its training, by Adam, one-cycle
VISIBLE = 10.0  # weight of LPIPS


class Learnt(Family):
    """``0.6 wave + 0.4 tanh(G(x, wave))``: SSCL-BW's generator with its loss ``L_t``, under marks that are waves.

    ``G`` pushes the surrogate's answer toward the class that it finds least likely for the image, whatever the mark is.
    A model that trains on the release then has to lean on the wave. No class of a mark is known while ``G`` learns.
    Queries have the wave alone.
    """

    def __init__(self, base: Family) -> None:
        self.base, self.most = base, base.most

    def draw(self, count: int, channels: int, key: Keystream) -> dict[str, Tensor]:
        return self.base.draw(count, channels, key)

    def learn(self, secret: Secret, lesson: Lesson) -> dict[str, Tensor]:
        train, compute, surrogate = lesson.train, lesson.context.compute, lesson.surrogate
        rng, count = lesson.context.rng("lesson"), len(secret["frequency"])
        net = compute.place(build_unet(train.channels + 1, WIDTH, lesson.context.rng("net"), outputs=1))
        optimizer = torch.optim.Adam(net.parameters(), lr=LEARNING_RATE)
        lpips = LPIPS().to(compute.device)
        surrogate = surrogate.requires_grad_(False).eval()
        augmentation = AUGMENTATIONS[lesson.context.training.augment]()
        with progress.step("train marks", STEPS * BATCH) as step:
            for number in range(STEPS):
                optimizer.param_groups[0]["lr"] = LEARNING_RATE * schedule("onecycle", number / STEPS)
                images = train.images[torch.randint(len(train), (BATCH,), generator=rng)]
                wave = self.base.change(images, torch.randint(count, (BATCH,), generator=rng), secret)
                x = compute.floats(images)
                change = _change(net, x, wave.to(compute.device))
                marked = _as_encoded((x + lesson.eps * change).clamp(0, 1), lesson.jpeg_quality)
                seen = augmentation.apply(marked, augmentation.draw(BATCH, rng).to(compute.device))
                with torch.no_grad():
                    least_likely = surrogate(x).argmin(dim=1)
                loss = F.cross_entropy(surrogate(seen), least_likely) + VISIBLE * lpips(x, marked).mean()
                optimizer.zero_grad(set_to_none=True)
                loss.backward()
                optimizer.step()
                step.advance(BATCH)
        return {**secret, **{f"{NET}{name}": tensor.cpu() for name, tensor in net.state_dict().items()}}

    @torch.no_grad()
    def change(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        """Without weights, as ``draw`` gives the secret, the U-Net adds nothing."""
        wave = self.base.change(images, marks, secret)
        weights = {name.removeprefix(NET): tensor for name, tensor in secret.items() if name.startswith(NET)}
        if not weights:
            return WAVE * wave
        net = build_unet(images.shape[1] + 1, WIDTH, outputs=1)
        net.load_state_dict(weights)
        return _change(net.eval(), images.float().div(255), wave)

    def asked(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        return self.base.asked(images, marks, secret)

    def stray(self, images: Tensor, rng: torch.Generator) -> Tensor:
        return self.base.stray(images, rng)


def _change(net: UNet, x: Tensor, wave: Tensor) -> Tensor:
    """float (N, C, H, W) in [-1, 1], the same in all channels but where the wave differs."""
    return WAVE * wave + (1 - WAVE) * torch.tanh(net(torch.cat((x, wave[:, :1]), dim=1)))


def _as_encoded(images: Tensor, quality: int | None) -> Tensor:
    """Rounded to 8 bits and, at a quality, JPEG encoded; gradients pass as if they were not."""
    stored = images.detach().mul(255).round().byte().cpu()
    stored = encoded(stored, quality) if quality else stored
    return images + (stored.to(images.device).float().div(255) - images).detach()


FAMILIES.register("learnt_waves")(Learnt(Waves()))
FAMILIES.register("learnt_ripples")(Learnt(Ripples()))
