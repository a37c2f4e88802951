"""One small network and some images for the tests of suspects."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sscl import seeds
from sscl.models import Classifier, build


@pytest.fixture(scope="package")
def model() -> Classifier:
    return build("baseline_cnn", 1, 28, classes=3, generator=seeds.generator(0, "w")).eval()


@pytest.fixture(scope="package")
def images() -> np.ndarray:
    """uint8 (6, 28, 28, 1)."""
    return torch.randint(0, 256, (6, 28, 28, 1), generator=seeds.generator(0, "x"), dtype=torch.uint8).numpy()
