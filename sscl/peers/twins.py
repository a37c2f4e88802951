"""Auditing by instances (Huang, Gong and Reiter 2025, arXiv 2503.22413): of an image's two twins, one is published."""

from __future__ import annotations

import torch
from scipy import stats

from sscl.peers.base import PEERS, Ask, Owner, Pairs, Peer
from sscl.types import ImageSet


class Twins(Peer[Pairs]):
    """Twins are ``x + eps d`` and ``x - eps d`` with a random ``d`` of signs; a coin decides which is published.

    A model that was trained on one answers it with its class more surely than the other, more often than a coin does:
    an exact sign test. Ties are left out. The authors choose ``d`` with a pre-trained encoder, so that the twins differ
    in its features; here it is random.
    """

    def release(self, data: ImageSet, rate: float, eps: float, owner: Owner) -> tuple[ImageSet, Pairs]:
        chosen = torch.from_numpy(owner.key.part("chosen").permutation(len(data))[: round(rate * len(data))])
        originals = data.images[chosen].int()
        signs = torch.from_numpy(owner.key.part("signs").integers(2, tuple(originals.shape))).int() * 2 - 1
        step = round(eps * 255)
        one, other = ((originals + side * step * signs).clamp(0, 255).to(torch.uint8) for side in (1, -1))
        coin = torch.from_numpy(owner.key.part("coin").integers(2, len(chosen))).bool()[:, None, None, None]
        labels, names = data.labels[chosen], data.class_names
        published = ImageSet(torch.where(coin, one, other), labels, names)
        withheld = ImageSet(torch.where(coin, other, one), labels, names)
        images = data.images.clone()
        images[chosen] = published.images
        return ImageSet(images, data.labels, data.class_names), Pairs(published, withheld)

    def p_value(self, ask: Ask, evidence: Pairs, queries: int) -> float:
        first, second = evidence.scores(ask, queries)
        surer, differing = int((first > second).sum()), int((first != second).sum())
        return float(stats.binomtest(surer, differing, 0.5, "greater").pvalue) if differing else 1.0


PEERS.register("twins")(Twins())
