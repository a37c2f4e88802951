"""Principal components: the first of them instead of the features."""

from __future__ import annotations

import numpy as np

from sscl.encoders.outputs.base import OUTPUTS, Change

SHARE = 0.25  # of the dimensions that are kept


@OUTPUTS.register("pca")
def pca(features: np.ndarray, rng: np.random.Generator) -> Change:
    """The directions in which the thief's images differ most; nothing is random."""
    mean = features.mean(axis=0)
    _, _, directions = np.linalg.svd(features - mean, full_matrices=False)
    kept = directions[: max(1, round(SHARE * features.shape[1]))]
    return lambda rows: (rows - mean) @ kept.T
