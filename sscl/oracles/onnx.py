"""An ONNX file, run by onnxruntime (extra ``onnx``)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

from sscl.artifacts import digest
from sscl.errors import InputError
from sscl.oracles.base import ORACLES, Context, Oracle, as_input, in_batches, to_probabilities
from sscl.types import Responses


@ORACLES.register("onnx")
class OnnxModel(Oracle):
    """``*.onnx``; its one input takes float (N, C, H, W) in [0, 1], its first output gives logits or probabilities.

    Raises:
        InputError: not an ONNX file, or onnxruntime is not installed.
    """

    example = "model.onnx"

    def __init__(self, address: str, context: Context, options: Any) -> None:
        super().__init__(address, context, options)
        try:
            import onnxruntime
        except ImportError:
            raise InputError(f"{address}: needs onnxruntime; pip install 'sscl-bw[onnx]'") from None
        providers = ["CPUExecutionProvider"]
        if context.compute.device.type == "cuda" and "CUDAExecutionProvider" in onnxruntime.get_available_providers():
            providers.insert(0, "CUDAExecutionProvider")
        try:
            self._session = onnxruntime.InferenceSession(address, providers=providers)
        except Exception as error:  # onnxruntime's errors share no base class
            raise InputError(f"{address}: not a usable ONNX file ({str(error).splitlines()[0][:100]})") from None
        self._input = self._session.get_inputs()[0].name

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.endswith(".onnx")

    def answer(self, images: np.ndarray) -> Responses:
        outputs = [self._session.run(None, {self._input: as_input(batch)})[0] for batch in in_batches(images)]
        return Responses(to_probabilities(np.concatenate(outputs)))

    def identity(self) -> dict[str, str]:
        return {"kind": "onnx", "sha256": digest(Path(self.address))}
