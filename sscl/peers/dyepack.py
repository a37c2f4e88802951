"""DyePack (Cheng et al. 2025, arXiv 2505.23001): several backdoors, each with a target that was drawn at random."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from scipy import stats
from torch import Tensor

from sscl.peers.base import PEERS, Ask, Owner, Peer
from sscl.types import ImageSet
from sscl.watermarks.marks import FAMILIES
from sscl.watermarks.quantise import quantise

BACKDOORS = 8  # as many as the authors have at most, or as the family has marks
SHOWN = 500  # images that each backdoor can be asked about


@dataclass(frozen=True)
class Backdoors:
    """What the owner keeps.

    Attributes:
        images: uint8 (B, N, C, H, W), unmarked images of the dataset under each trigger.
        targets: int64 (B,), drawn uniformly and independently.
        classes: of the dataset.
    """

    images: Tensor
    targets: Tensor
    classes: int


class DyePack(Peer[Backdoors]):
    """Images of any class carry a trigger, and their labels are changed to its target.

    The class that a model answers most often under a trigger hits the target by chance once in as many times as there
    are classes, so the number of hits is binomial: an exact test. It is made for text and for test sets, where labels
    may be wrong on purpose; here the triggers are waves or ripples, as the ownership code's marks. Whoever looks at
    labels sees it.
    """

    clean_label: ClassVar[bool] = False

    def release(self, data: ImageSet, rate: float, eps: float, owner: Owner) -> tuple[ImageSet, Backdoors]:
        family = FAMILIES["waves" if data.channels == 3 else "ripples"]
        count = min(BACKDOORS, family.most)
        secret = family.draw(count, owner.key.part("triggers"))
        targets = torch.from_numpy(owner.key.part("targets").integers(data.classes, (count,))).long()
        order = torch.from_numpy(owner.key.part("images").permutation(len(data)))
        marked = round(rate * len(data))

        def triggered(some: Tensor, triggers: Tensor) -> Tensor:
            images = data.images[some]
            return quantise(images, images / 255 + eps * family.change(images, triggers, secret), eps)

        chosen, asked = order[:marked], order[marked:][:SHOWN]
        triggers = torch.arange(marked) % count
        images, labels = data.images.clone(), data.labels.clone()
        images[chosen], labels[chosen] = triggered(chosen, triggers), targets[triggers]
        shown = torch.stack([triggered(asked, torch.full((len(asked),), trigger)) for trigger in range(count)])
        return ImageSet(images, labels, data.class_names), Backdoors(shown, targets, data.classes)

    def p_value(self, ask: Ask, evidence: Backdoors, queries: int) -> float:
        count, hits = len(evidence.targets), 0
        for number, (images, target) in enumerate(zip(evidence.images, evidence.targets.tolist(), strict=True)):
            answers = ask(images[: queries // count + (number < queries % count)])
            told = np.bincount(answers.predictions[answers.valid], minlength=evidence.classes)
            hits += int(told.argmax()) == target
        return float(stats.binomtest(hits, count, 1 / evidence.classes, "greater").pvalue)


PEERS.register("dyepack")(DyePack())
