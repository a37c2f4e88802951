"""Classifiers of ours: one of this process, or one in a safetensors file, its architecture in the metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sscl.artifacts import digest
from sscl.errors import InputError
from sscl.foreign import regular
from sscl.models import Classifier
from sscl.models.io import load_classifier
from sscl.oracles.base import ORACLES, Context, Oracle
from sscl.train import predict
from sscl.types import Responses

LARGEST = 1 << 33  # bytes of a file


class InMemory(Oracle):
    """A model of this process; it has no address by which it could be asked for."""

    def __init__(self, model: Classifier, context: Context, address: str = "in memory") -> None:
        super().__init__(address, context, None)
        self._model = model

    @classmethod
    def accepts(cls, address: str) -> bool:
        return False

    def answer(self, images: np.ndarray) -> Responses:
        tensor = torch.tensor(images).permute(0, 3, 1, 2).contiguous()  # a copy: decoded images are read-only
        return Responses(predict(self._model, tensor, self.context.compute).numpy())

    def identity(self) -> dict[str, str]:
        return {"kind": "in memory"}


@ORACLES.register("classifier")
class LocalModel(InMemory):
    """``*.safetensors`` that ``sscl`` wrote.

    Raises:
        InputError: not such a file, NaN weights, or another number of classes.
    """

    example = "model.safetensors"

    def __init__(self, address: str, context: Context, options: Any) -> None:
        path = regular(Path(address), LARGEST, "a classifier that sscl wrote")
        self._sha256 = digest(path)
        model, _ = load_classifier(path, len(context.class_names))
        if digest(path) != self._sha256:
            raise InputError(f"{path}: changes while it is read; audit a copy")
        super().__init__(context.compute.place(model), context, address)

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.endswith(".safetensors")

    def identity(self) -> dict[str, str]:
        return {"kind": "classifier", "sha256": self._sha256}
