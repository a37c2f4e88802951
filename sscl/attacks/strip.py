"""STRIP (Gao et al. 2019): a triggered image keeps its answer under whatever is laid over it."""

from __future__ import annotations

import numpy as np
import torch

from sscl import seeds
from sscl.attacks.base import DETECTORS, Attacker, Detector
from sscl.models import Classifier
from sscl.train import predict
from sscl.types import ImageSet

OVERLAYS = 32  # clean images laid over each (Gao et al. 2019 use 100)


class Strip(Detector):
    """Minus the mean entropy of the answers to half-and-half blends with clean images."""

    looks_at = "queries"

    def score(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        rng = seeds.generator(attacker.seed, "strip")
        entropy = torch.zeros(len(images), dtype=torch.float64)
        for _ in range(OVERLAYS):
            over = attacker.clean.images[torch.randint(len(attacker.clean), (len(images),), generator=rng)]
            blend = ((images.images.int() + over.int()) // 2).to(torch.uint8)
            answers = predict(model, blend, attacker.compute)
            entropy -= (answers * answers.clamp_min(1e-12).log()).sum(dim=1) / OVERLAYS
        return (-entropy).numpy()


DETECTORS.register("strip")(Strip())
