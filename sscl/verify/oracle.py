"""Black boxes: whatever answers images with probabilities."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path

import numpy as np
import torch

from sscl.compute import Compute
from sscl.models.io import load_classifier
from sscl.train import predict
from sscl.types import Responses


class Oracle(ABC):
    """A suspicious model that can only be queried."""

    @abstractmethod
    def query(self, images: np.ndarray) -> Responses:
        """Answers for uint8 images (N, H, W, C)."""


class LocalModel(Oracle):
    """A classifier of ours in a safetensors file.

    Args:
        path: the file.
        classes: how many classes it must have.
        compute: device and precision.

    Raises:
        InputError: not such a file, NaN weights, or another number of classes.
    """

    def __init__(self, path: Path, classes: int, compute: Compute) -> None:
        model, _ = load_classifier(path, classes)
        self._model, self._compute = compute.place(model), compute

    def query(self, images: np.ndarray) -> Responses:
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        return Responses(predict(self._model, tensor, self._compute).numpy())
