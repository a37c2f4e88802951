"""Spectral signatures (Tran et al. 2018): marked images stand out along their class's first principal direction."""

from __future__ import annotations

import numpy as np
import torch

from sscl.attacks.base import DETECTORS, Attacker, Detector
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.types import ImageSet


def spectral_scores(features: torch.Tensor) -> torch.Tensor:
    """Squared projection of centred features (N, D) on their first right singular vector: (N,)."""
    centred = features - features.mean(dim=0)
    _, _, directions = torch.linalg.svd(centred, full_matrices=False)
    scores: torch.Tensor = (centred @ directions[0]).square()
    return scores


class SpectralSignatures(Detector):
    """Scores are divided by their class's mean, so that classes can be compared."""

    looks_at = "dataset"

    def score(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        features = all_features(model, images.images, attacker.compute).double()
        scores = torch.zeros(len(images), dtype=torch.float64)
        for label in torch.unique(images.labels):
            mine = images.labels == label
            found = spectral_scores(features[mine])
            scores[mine] = found / found.mean().clamp_min(1e-12)
        return scores.numpy()


DETECTORS.register("spectral_signatures")(SpectralSignatures())
