"""Gaussian noise: a tenth of each feature's own spread."""

from __future__ import annotations

import numpy as np

from sscl.encoders.outputs.base import OUTPUTS, Change

SHARE = 0.1  # of the standard deviation over the thief's images


@OUTPUTS.register("noise")
def noise(features: np.ndarray, rng: np.random.Generator) -> Change:
    """Drawn afresh for every answer."""
    spread = features.std(axis=0)
    return lambda rows: rows + SHARE * spread * rng.standard_normal(rows.shape)
