"""A model in eight bits, as ONNX for a phone or a small server."""

from __future__ import annotations

import copy
import os
from collections.abc import Iterator

import numpy as np
import torch
from torch import Tensor, nn

from sscl.data.spread import spread
from sscl.errors import ConfigError
from sscl.models import Classifier
from sscl.strangers.base import STRANGERS, Stranger, Workplace, context_of
from sscl.suspects import Oracle, open_oracle

CALIBRATED = 200  # images from which the ranges of activations are taken


class _Probabilities(nn.Module):
    def __init__(self, model: Classifier) -> None:
        super().__init__()
        self.model = model

    def forward(self, x: Tensor) -> Tensor:
        answers: Tensor = self.model(x).softmax(dim=1)
        return answers


class Quantised(Stranger):
    """Weights and activations in int8 (onnxruntime), asked as a stranger's file."""

    def model(self, workplace: Workplace) -> Classifier:
        return workplace.usual

    def suspect(self, workplace: Workplace) -> Oracle:
        """The file of the quantised model, in the sandbox.

        Raises:
            ConfigError: the packages ``onnx`` and ``onnxruntime`` are missing.
        """
        os.environ.setdefault("ORT_DISABLE_TELEMETRY", "1")  # else it reports to its makers
        try:
            from onnxruntime.quantization import CalibrationDataReader, quantize_static
            from onnxruntime.quantization.shape_inference import quant_pre_process
        except ImportError:
            raise ConfigError("stranger int8_onnx: pip install '.[onnx]' onnx") from None
        model = copy.deepcopy(self.model(workplace)).cpu().to(memory_format=torch.contiguous_format)
        released = workplace.released.images
        images = released[spread(len(released), CALIBRATED)].float().div(255).numpy()
        whole, ready, small = (workplace.folder / f"{name}.onnx" for name in ("float", "ready", "int8"))
        torch.onnx.export(
            _Probabilities(model).eval(),
            (torch.from_numpy(images[:1]),),
            whole,
            input_names=["x"],
            output_names=["y"],
            dynamic_axes={"x": {0: "n"}, "y": {0: "n"}},
            dynamo=False,
        )

        class Reader(CalibrationDataReader):  # type: ignore[misc]
            def __init__(self) -> None:
                self.left: Iterator[np.ndarray] = iter(images)

            def get_next(self) -> dict[str, np.ndarray] | None:
                image = next(self.left, None)
                return None if image is None else {"x": image[None]}

        quant_pre_process(whole, ready, skip_symbolic_shape=True)
        quantize_static(ready, small, Reader())
        return open_oracle(str(small), context_of(workplace, self), {"scale": "probabilities"})


STRANGERS.register("int8_onnx")(Quantised())
