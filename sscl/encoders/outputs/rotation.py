"""A random rotation of the feature space. Cosines stay, and with them the statistic."""

from __future__ import annotations

import numpy as np
from scipy.stats import ortho_group

from sscl.encoders.outputs.base import OUTPUTS, Change


@OUTPUTS.register("rotation")
def rotation(features: np.ndarray, rng: np.random.Generator) -> Change:
    """One orthogonal matrix, uniform over all of them."""
    matrix = ortho_group.rvs(features.shape[1], random_state=rng)
    return lambda rows: rows @ matrix
