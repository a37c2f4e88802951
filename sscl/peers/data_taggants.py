"""Data Taggants (Bouaziz, Usunier and El-Mhamdi 2025, arXiv 2410.09101): keys unlike any image, with random labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from scipy import stats
from torch import Tensor

from sscl import progress
from sscl.peers.base import PEERS, Ask, Owner, Peer
from sscl.types import ImageSet
from sscl.watermarks.gradient_matching import STEP, match, parameter_gradient
from sscl.watermarks.quantise import quantise

KEYS = 20  # key images; all of them are asked
STEPS = 100  # of signed Adam for each batch
AT_A_TIME = 250  # images whose common gradient is matched


@dataclass(frozen=True)
class Keys:
    """What the owner keeps.

    Attributes:
        images: uint8 (K, C, H, W), random pixels.
        labels: int64 (K,), drawn uniformly.
        classes: of the dataset.
    """

    images: Tensor
    labels: Tensor
    classes: int


class DataTaggants(Peer[Keys]):
    """Images of a key's label are changed so that training on them teaches the key: gradient matching, labels stay.

    A model that did not see the release cannot know labels that were drawn at random, so the number of keys that it
    answers with their labels is binomial: an exact test. The authors count labels among the ten likeliest of 1,000
    classes, match against a differentiable augmentation, and bound what is visible by a perceptual loss as well.
    """

    def release(self, data: ImageSet, rate: float, eps: float, owner: Owner) -> tuple[ImageSet, Keys]:
        shape = (KEYS, *data.images.shape[1:])
        pixels = torch.from_numpy(owner.key.part("keys").integers(256, shape)).to(torch.uint8)
        labels = torch.from_numpy(owner.key.part("labels").integers(data.classes, (KEYS,))).long()
        order = torch.from_numpy(owner.key.part("images").permutation(len(data)))
        images, left = data.images.clone(), torch.ones(len(data), dtype=torch.bool)
        with progress.step("match gradients of keys", KEYS) as step:
            for number, label in enumerate(labels):
                chosen = order[(data.labels[order] == label) & left[order]][: max(1, round(rate * len(data) / KEYS))]
                left[chosen] = False
                images[chosen] = crafted(data.subset(chosen), pixels[number], eps, owner)
                step.advance(1)
        return ImageSet(images, data.labels, data.class_names), Keys(pixels, labels, data.classes)

    def p_value(self, ask: Ask, evidence: Keys, queries: int) -> float:
        count = min(queries, len(evidence.images))
        right = int((ask(evidence.images[:count]).predictions == evidence.labels[:count].numpy()).sum())
        return float(stats.binomtest(right, count, 1 / evidence.classes, "greater").pvalue)


def crafted(images: ImageSet, key: Tensor, eps: float, owner: Owner) -> Tensor:
    """uint8 images of one label, whose gradient is turned to that of ``key`` under this label."""
    model, compute = owner.surrogate, owner.compute
    model.requires_grad_(True).eval()
    done = []
    for x, labels in zip(torch.split(images.images, AT_A_TIME), torch.split(images.labels, AT_A_TIME), strict=True):
        floats, own = compute.floats(x), labels.to(compute.device)
        wanted = parameter_gradient(F.cross_entropy(model(compute.floats(key[None])), own[:1]), model)
        change = match(
            model, floats, own, wanted=wanted, change=torch.zeros_like(floats), eps=eps, rates=[STEP] * STEPS
        )
        done.append(quantise(x, floats.cpu() + change.cpu(), eps))
    model.requires_grad_(False)
    return torch.cat(done)


PEERS.register("data_taggants")(DataTaggants())
