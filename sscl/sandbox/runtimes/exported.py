"""``torch.export`` archives. PyTorch's loader may run code from them, which the sandbox leaves without rights."""

from __future__ import annotations

import io

import numpy as np

from sscl.sandbox.runtimes.base import RUNTIMES, Loaded, Outputs, Runtime
from sscl.sandbox.runtimes.torchscript import named


def load(content: bytes) -> Loaded:
    """The last placeholder of the graph takes the images."""
    import torch

    program = torch.export.load(io.BytesIO(content))
    value = program.graph_module.graph.find_nodes(op="placeholder")[-1].meta["val"]
    model = program.module()

    def run(images: np.ndarray) -> Outputs:
        with torch.no_grad():
            return named(model(torch.from_numpy(images)))

    shape = [length if isinstance(length, int) else None for length in value.shape]
    return Loaded(run, shape, str(value.dtype).removeprefix("torch."))


# What `torch.export.load` imports when it is called.
LIBRARIES = ("torch.export", "torch._export.serde.serialize", "torch.export.pt2_archive", "torch.export._unlift")

RUNTIMES.register("exported")(Runtime((".pt2",), load, libraries=LIBRARIES))
