"""SCALE-UP (Guo et al. 2023): a triggered image keeps its answer when its pixels are multiplied."""

from __future__ import annotations

import numpy as np
import torch

from sscl.attacks.base import DETECTORS, Attacker, Detector
from sscl.models import Classifier
from sscl.train import predict
from sscl.types import ImageSet

FACTORS = (3, 5, 7, 9, 11)  # Guo et al. 2023


class ScaleUp(Detector):
    """Share of the multiplied images answered like the image itself."""

    looks_at = "queries"

    def score(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        own = predict(model, images.images, attacker.compute).argmax(dim=1)
        same = torch.zeros(len(images), dtype=torch.float64)
        for factor in FACTORS:
            scaled = (images.images.int() * factor).clamp(max=255).to(torch.uint8)
            same += predict(model, scaled, attacker.compute).argmax(dim=1) == own
        return (same / len(FACTORS)).numpy()


DETECTORS.register("scale_up")(ScaleUp())
