"""What a change of answers is: learnt once from a thief's own features, then the same for every query."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from sscl.registry import Registry

Change = Callable[[np.ndarray], np.ndarray]  # of features, float64 (N, D), to what is answered, (N, E)
OutputChange = Callable[[np.ndarray, np.random.Generator], Change]  # features of the thief's images, random numbers
OUTPUTS: Registry[OutputChange] = Registry("change of answers", "sscl.encoders.outputs")
