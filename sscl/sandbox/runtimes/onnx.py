"""ONNX files, by onnxruntime. A file that keeps its weights in other files is refused: there are none here."""

from __future__ import annotations

import numpy as np

from sscl.sandbox.runtimes.base import RUNTIMES, Loaded, Outputs, Runtime


def load(content: bytes) -> Loaded:
    """The first input takes the images."""
    import onnxruntime

    onnxruntime.set_default_logger_severity(4)
    session = onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    first = session.get_inputs()[0]
    names = [output.name for output in session.get_outputs()]

    def run(images: np.ndarray) -> Outputs:
        return list(zip(names, map(np.asarray, session.run(None, {first.name: images})), strict=True))

    shape = [length if isinstance(length, int) else None for length in first.shape]
    return Loaded(run, shape, first.type.removeprefix("tensor(").removesuffix(")"))


RUNTIMES.register("onnx")(Runtime((".onnx",), load, extra="onnx", libraries=("onnxruntime",)))
