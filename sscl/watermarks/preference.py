"""Which images of a class are marked first: those that a model finds hardest, or those that look most alike to it."""

from __future__ import annotations

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.compute import Compute
from sscl.keystream import Keystream
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.train import predict
from sscl.types import ImageSet

Choice = Literal["hardest", "alike"]
STARTS, STEPS = 64, 4  # of the search for a class's densest neighbourhood


def preference(
    choice: Choice, data: ImageSet, model: Classifier, *, share: float, compute: Compute, key: Keystream
) -> Tensor:
    """float32 (N,): of two images of a class, the larger one is marked first.

    ``hardest``: the cross-entropy of the model's answer. ``alike``: cosine to the centre of the class's densest
    neighbourhood on the model's features, among neighbourhoods that hold ``share`` of the class. Nearly all images
    that look like these then carry the mark; one look predicts it, which a contrastive method learns.
    """
    if choice == "hardest":
        own = predict(model, data.images, compute)[torch.arange(len(data)), data.labels]
        return -own.clamp_min(1e-12).log().float()
    found = torch.empty(len(data))
    features = all_features(model, data.images, compute)
    features = F.normalize(features - features.mean(dim=0), dim=1)
    for group in torch.unique(data.labels).tolist():
        members = torch.nonzero(data.labels == group).flatten()
        size = max(1, round(share * len(members)))
        starts = torch.from_numpy(key.part(str(group)).permutation(len(members))[:STARTS])
        found[members] = _densest(features[members], size, starts)
    return found


def _densest(features: Tensor, size: int, starts: Tensor) -> Tensor:
    """Cosine of every row to the centre whose ``size`` nearest rows are nearest on average, by mean shift."""
    centres = features[starts]
    for _ in range(STEPS):
        near = (centres @ features.T).topk(size, dim=1).indices
        centres = F.normalize(features[near].mean(dim=1), dim=1)
    tightness = (centres @ features.T).topk(size, dim=1).values.mean(dim=1)
    return features @ centres[tightness.argmax()]
