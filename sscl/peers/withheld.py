"""Dataset inference (Maini et al. 2021) by answers alone: images that were published against images that were not."""

from __future__ import annotations

import torch
from scipy import stats

from sscl.peers.base import PEERS, Ask, Owner, Pairs, Peer
from sscl.types import ImageSet


class Withheld(Peer[Pairs]):
    """A random part of the images is left out of the release, one for each image that evidence is kept of.

    A model that was trained on the others answers those with their class more surely: a one-sided Mann-Whitney test. It
    holds its level because the left-out part was drawn at random, up to the normal approximation; the authors compare
    with data from elsewhere, which innocent models may answer otherwise. Pixels stay, so ``eps`` is not used; the
    release is smaller.
    """

    def release(self, data: ImageSet, rate: float, eps: float, owner: Owner) -> tuple[ImageSet, Pairs]:
        order = torch.from_numpy(owner.key.part("order").permutation(len(data)))
        count = round(rate * len(data) / 2)
        kept, left = data.subset(order[:count]), data.subset(order[count : 2 * count])
        stays = torch.ones(len(data), dtype=torch.bool)
        stays[order[count : 2 * count]] = False
        return data.subset(torch.nonzero(stays).flatten()), Pairs(kept, left)

    def p_value(self, ask: Ask, evidence: Pairs, queries: int) -> float:
        first, second = evidence.scores(ask, queries)
        return float(stats.mannwhitneyu(first, second, alternative="greater").pvalue)


PEERS.register("withheld")(Withheld())
