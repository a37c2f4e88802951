"""What a model's output is: probabilities, percent, logits, features.

It is judged once a suspect, by its first answers; features are never guessed, the ``--oracle`` file says so.
"""

from __future__ import annotations

from typing import Literal

import numpy as np
from scipy.special import softmax

from sscl.statistics.effects import CHANGE

Scale = Literal["probabilities", "percent", "logits", "features"]
SLACK = 0.05  # how far from 1 a sum may be: eight-bit outputs of ten classes are off by up to 0.02


def scale_of(rows: np.ndarray) -> Scale:
    """What rows of outputs, float (N, K), must be.

    Logits that are all positive and add up to 1, or to 100, in every row would be taken for the others. A suspect does
    not give such; if it did, its own scale can be set.
    """
    if len(rows) and np.isfinite(rows).all() and (rows >= 0).all():
        for scale, whole in (("probabilities", 1.0), ("percent", 100.0)):
            if (np.abs(rows.sum(axis=1) / whole - 1) <= SLACK).all():
                return scale  # type: ignore[return-value]
    return "logits"


def as_probabilities(rows: np.ndarray, scale: Scale) -> np.ndarray:
    """Rows as probabilities, float64 (N, K), which add up to one.

    Raises:
        ValueError: not finite, or no probabilities although the suspect gave such before.
    """
    values = np.asarray(rows, dtype=np.float64)
    if values.ndim != 2 or not np.isfinite(values).all():
        raise ValueError(f"the model's output must be finite (N, classes), got shape {values.shape}")
    if scale == "logits":
        return np.asarray(softmax(values, axis=1))
    whole = 100.0 if scale == "percent" else 1.0
    sums = values.sum(axis=1, keepdims=True)
    if (values < 0).any() or (np.abs(sums / whole - 1) > SLACK).any():
        raise ValueError(f"the first answers were {scale}, these are not; set scale in the --oracle file")
    found: np.ndarray = values / sums
    return found


def distributions(rows: np.ndarray) -> bool:
    """Whether most rows, float (N, K), are probabilities but for their last digits: to call them features would be
    another try."""
    near = (rows >= -CHANGE).all(axis=1) & (np.abs(rows.sum(axis=1) - 1) < 1e-3 + rows.shape[1] * CHANGE)
    return bool(2 * near.sum() > len(near))
