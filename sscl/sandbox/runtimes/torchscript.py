"""TorchScript archives."""

from __future__ import annotations

import io
import warnings
from typing import Any

import numpy as np

from sscl.sandbox.runtimes.base import RUNTIMES, Loaded, Outputs, Runtime


def named(found: Any) -> Outputs:
    """The tensors of a model's output: one, several in order, or several by name."""
    import torch

    if isinstance(found, torch.Tensor):
        return [("0", found.detach().cpu().numpy())]
    pairs = found.items() if isinstance(found, dict) else enumerate(found)
    return [(str(name), value.detach().cpu().numpy()) for name, value in pairs if isinstance(value, torch.Tensor)]


def load(content: bytes) -> Loaded:
    """The file does not say what it takes."""
    import torch

    warnings.simplefilter("ignore")  # torch.jit is on its way out; its files stay
    model = torch.jit.load(io.BytesIO(content), map_location="cpu").eval()  # type: ignore[no-untyped-call]

    def run(images: np.ndarray) -> Outputs:
        with torch.no_grad():
            return named(model(torch.from_numpy(images)))

    return Loaded(run)


RUNTIMES.register("torchscript")(Runtime((".ts", ".torchscript"), load, libraries=("torch",)))
