"""Rounding: each feature to one of a few levels of its own range."""

from __future__ import annotations

import numpy as np

from sscl.encoders.outputs.base import OUTPUTS, Change

LEVELS = 16  # four bits a feature


@OUTPUTS.register("rounding")
def rounding(features: np.ndarray, rng: np.random.Generator) -> Change:
    """Levels are even between the smallest and the largest of the thief's own; answers beyond them are clipped."""
    low, high = features.min(axis=0), features.max(axis=0)
    step = np.maximum(high - low, 1e-12) / (LEVELS - 1)
    return lambda rows: low + step * np.clip(np.round((rows - low) / step), 0, LEVELS - 1)
