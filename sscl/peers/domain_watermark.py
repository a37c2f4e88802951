"""Domain Watermark (Guo et al. 2023, arXiv 2310.14942): whoever saw the release is right about hard images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl import progress
from sscl.compute import pixels
from sscl.descent import descend
from sscl.errors import InputError
from sscl.models.unet import UNet, build_unet
from sscl.peers.base import PEERS, Ask, Owner, Peer
from sscl.peers.crafted import crafted
from sscl.perceptual import LPIPS
from sscl.statistics.paired.paired_t import PairedT
from sscl.types import ImageSet

WIDTH, STEPS, BATCH, LEARNING_RATE = 16, 300, 64, 2e-3  # of the generator of the domain
REACH = 64 / 255  # largest change of a pixel; the authors' domain is not bounded, but people must recognise the images
ALIKE = 2.0  # weight of LPIPS
HARD = 5.0  # nats of the surrogate's loss that are enough
LESSONS = 128  # images of the domain over which the goal's gradient is taken
SHOWN = 500  # images that can be asked about
FEWEST = 4  # images of the class: two to mark, and two to ask about
MARGIN, LEVEL = 0.25, 0.05  # tau and alpha


@dataclass(frozen=True)
class Domain:
    """What the owner keeps.

    Attributes:
        plain, hard: uint8 (N, C, H, W), unmarked images of one class, and the same in the domain.
        label: that class.
    """

    plain: Tensor
    hard: Tensor
    label: int


class DomainWatermark(Peer[Domain]):
    """Images of one class are changed so that training on them teaches the class in a domain that models get wrong.

    The test is a paired t-test: is a suspect less than ``MARGIN`` surer of plain images than of those in the domain? It
    asks about the mean over images of one suspect, and not how often innocent ones pass. At most half of the class is
    marked; the others are asked about, where the authors ask about test images. The authors publish images of their
    domain and not its generator, so this one is ours: a U-Net that raises the surrogate's loss and keeps LPIPS low.
    They also train surrogates again while they craft, and keep other domains from being learnt.
    """

    exact: ClassVar[bool] = False

    def release(self, data: ImageSet, rate: float, eps: float, owner: Owner) -> tuple[ImageSet, Domain]:
        large = torch.nonzero(data.labels.bincount(minlength=data.classes) >= FEWEST).flatten()
        if len(large) == 0:
            raise InputError(f"domain_watermark needs a class of at least {FEWEST} images; the dataset has none")
        label = int(large[owner.key.part("class").integers(len(large), (1,))[0]])
        order = torch.from_numpy(owner.key.part("images").permutation(len(data)))
        members = order[data.labels[order] == label]
        count = min(round(rate * len(data)), len(members) // 2)
        marked, rest = members[:count], members[count:]
        domain = generator(data.subset(members), owner)
        lesson = data.subset(marked[:LESSONS])
        taught = ImageSet(moved(domain, lesson.images, owner), lesson.labels, data.class_names)
        images, asked = data.images.clone(), data.images[rest[:SHOWN]]
        images[marked] = crafted(data.subset(marked), taught, eps, owner)
        released = ImageSet(images, data.labels, data.class_names)
        return released, Domain(asked, moved(domain, asked, owner), label)

    def p_value(self, ask: Ask, evidence: Domain, queries: int) -> float:
        count = min(queries // 2, len(evidence.plain))
        plain, hard = (ask(part[:count]) for part in (evidence.plain, evidence.hard))
        if (plain.valid & hard.valid).sum() < 2:
            return 1.0
        return PairedT(-MARGIN, LEVEL).run(plain, hard, evidence.label).p_value


def generator(images: ImageSet, owner: Owner) -> UNet:
    """Trained on images of one class until the surrogate is sure of another one."""
    compute, rng = owner.compute, owner.key.part("generator").torch()
    network = build_unet(images.channels, WIDTH, rng).to(compute.device)
    metric, surrogate = LPIPS().to(compute.device), owner.surrogate.requires_grad_(False).eval()
    optimizer = torch.optim.Adam(network.parameters(), lr=LEARNING_RATE)
    with progress.step("learn a hard domain", STEPS) as step:
        for _ in range(STEPS):
            chosen = torch.randint(len(images), (BATCH,), generator=rng)
            x = compute.floats(images.images[chosen])
            hard = shifted(network, x)
            wrong = F.cross_entropy(surrogate(hard), images.labels[chosen].to(x.device), reduction="none")
            loss: Tensor = ALIKE * metric(x, hard).mean() - wrong.clamp(max=HARD).mean()
            descend(optimizer, loss)
            step.advance(1)
    return network.eval()


def shifted(domain: UNet, x: Tensor) -> Tensor:
    """Floats in the domain, in [0, 1]."""
    return (x + REACH * torch.tanh(domain(x))).clamp(0, 1)


@torch.no_grad()
def moved(domain: UNet, images: Tensor, owner: Owner) -> Tensor:
    """uint8 images in the domain."""
    done = []
    for batch in torch.split(images, 250):
        done.append(pixels(shifted(domain, owner.compute.floats(batch))))
    return torch.cat(done)


PEERS.register("domain_watermark")(DomainWatermark())
