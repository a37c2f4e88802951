"""How well an encoder tells classes apart: accuracy of weighted nearest neighbours on its features."""

from __future__ import annotations

import torch
import torch.nn.functional as F

from sscl import seeds
from sscl.compute import Compute
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.types import ImageSet

NEIGHBOURS, TEMPERATURE = 200, 0.1  # Wu et al. 2018
HELD, BANK = 1000, 10_000  # images that are classified, and images among which their neighbours are sought, at most


def knn_accuracy(encoder: Classifier, data: ImageSet, compute: Compute, held: ImageSet | None = None) -> float:
    """Share of images answered with their own class by a vote of their nearest neighbours, in [0, 1].

    Args:
        encoder: its features are compared by cosine.
        data: the neighbours; ``BANK`` random images count.
        compute: device and precision.
        held: what is classified; ``None`` for random images of ``data``, at most a fifth, which are then no
            neighbours.
    """
    order = torch.randperm(len(data), generator=seeds.generator(0, "neighbours"))  # sets are often sorted by class
    if held is None:
        count = min(HELD, len(data) // 5)
        held, order = data.subset(order[:count]), order[count:]
    bank = data.subset(order[:BANK])
    known, asked = (F.normalize(all_features(encoder, part.images, compute), dim=1) for part in (bank, held))
    near, where = (asked @ known.T).topk(min(NEIGHBOURS, len(bank)), dim=1)
    votes = torch.zeros(len(held), data.classes)
    votes.scatter_add_(1, bank.labels.cpu()[where], (near / TEMPERATURE).exp())
    return float((votes.argmax(dim=1) == held.labels.cpu()).double().mean())
