"""A classifier of ours in a safetensors file, its architecture in the metadata."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from sscl.artifacts import digest
from sscl.models.io import load_classifier
from sscl.oracles.base import ORACLES, Context, Oracle
from sscl.train import predict
from sscl.types import Responses


@ORACLES.register("classifier")
class LocalModel(Oracle):
    """``*.safetensors`` that ``sscl`` wrote.

    Raises:
        InputError: not such a file, NaN weights, or another number of classes.
    """

    def __init__(self, address: str, context: Context, options: Any) -> None:
        super().__init__(address, context, options)
        model, _ = load_classifier(Path(address), len(context.class_names))
        self._model = context.compute.place(model)

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.endswith(".safetensors")

    def answer(self, images: np.ndarray) -> Responses:
        tensor = torch.from_numpy(images).permute(0, 3, 1, 2).contiguous()
        return Responses(predict(self._model, tensor, self.context.compute).numpy())

    def identity(self) -> dict[str, str]:
        return {"kind": "classifier", "sha256": digest(Path(self.address))}
