"""Data Taggants (Bouaziz, Usunier and El-Mhamdi 2025, arXiv 2410.09101): keys unlike any image, with random labels."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from scipy import stats
from torch import Tensor

from sscl import progress
from sscl.peers.base import PEERS, Ask, Owner, Peer
from sscl.peers.crafted import crafted
from sscl.types import ImageSet

KEYS = 20  # key images; all of them are asked


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
                taught = ImageSet(pixels[number, None], label[None], data.class_names)
                images[chosen] = crafted(data.subset(chosen), taught, eps, owner)
                step.advance(1)
        return ImageSet(images, data.labels, data.class_names), Keys(pixels, labels, data.classes)

    def p_value(self, ask: Ask, evidence: Keys, queries: int) -> float:
        count = min(queries, len(evidence.images))
        right = int((ask(evidence.images[:count]).predictions == evidence.labels[:count].numpy()).sum())
        return float(stats.binomtest(right, count, 1 / evidence.classes, "greater").pvalue)


PEERS.register("data_taggants")(DataTaggants())
