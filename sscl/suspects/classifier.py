"""Classifiers of ours: one of this process, or one in a safetensors file, its architecture in the metadata."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import numpy as np
import torch

from sscl.artifacts import digest
from sscl.errors import InputError, SuspectError
from sscl.foreign import regular
from sscl.models import Classifier
from sscl.models.features import all_features
from sscl.models.io import load_classifier
from sscl.suspects.base import ORACLES, Context, Oracle
from sscl.train import predict
from sscl.types import Responses

LARGEST = 1 << 33  # bytes of a file


@dataclass(frozen=True)
class ClassifierOptions:
    """What a classifier of ours is asked for: the probabilities of its classes, or what its last layer is given."""

    output: Literal["probabilities", "features"] = "probabilities"


class InMemory(Oracle):
    """A model of this process; it has no address by which it could be asked for."""

    options: ClassifierOptions

    def __init__(
        self, model: Classifier, context: Context, options: ClassifierOptions | None = None, address: str = "in memory"
    ) -> None:
        super().__init__(address, context, options or ClassifierOptions())
        self._model = model

    @classmethod
    def accepts(cls, address: str) -> bool:
        return False

    def answer(self, images: np.ndarray) -> Responses:
        tensor = torch.tensor(images).permute(0, 3, 1, 2).contiguous()  # a copy: decoded images are read-only
        sent, taken = tuple(tensor.shape[1:]), (self._model.channels, self._model.size, self._model.size)
        if sent != taken:
            raise SuspectError(
                f"{self.address}: takes images of {'x'.join(map(str, taken))}, and the dataset's are "
                f"{'x'.join(map(str, sent))}; audit it as an ONNX file that resizes, or behind an API"
            )
        if self.options.output == "features":
            return Responses(all_features(self._model, tensor, self.context.compute).double().numpy(), "features")
        return Responses(predict(self._model, tensor, self.context.compute).numpy())

    def identity(self) -> dict[str, str]:
        return {"kind": "in memory"}


@ORACLES.register("classifier")
class LocalModel(InMemory):
    """``*.safetensors`` that ``sscl`` wrote.

    Raises:
        InputError: not such a file, NaN weights, or another number of classes.
    """

    Options = ClassifierOptions
    example = "model.safetensors"

    def __init__(self, address: str, context: Context, options: ClassifierOptions) -> None:
        path = regular(Path(address), LARGEST, "a classifier that sscl wrote")
        self._sha256 = digest(path)
        model, _ = load_classifier(path, None if context.class_names is None else len(context.class_names))
        if digest(path) != self._sha256:
            raise InputError(f"{path}: changes while it is read; audit a copy")
        super().__init__(context.compute.place(model), context, options, address)

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.endswith(".safetensors")

    @property
    def interface(self) -> dict[str, str]:
        return {} if self.options.output == "probabilities" else {"output": self.options.output}

    def identity(self) -> dict[str, str]:
        return {"kind": "classifier", "sha256": self._sha256}
