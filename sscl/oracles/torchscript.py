"""A TorchScript archive. Its loader is C++ that knows tensors and TorchScript only; no Python is unpickled."""

from __future__ import annotations

import warnings
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sscl.artifacts import digest
from sscl.errors import InputError
from sscl.oracles.base import ORACLES, Context, Oracle, as_input, in_batches, to_probabilities
from sscl.types import Responses


@ORACLES.register("torchscript")
class TorchScriptModel(Oracle):
    """``*.ts`` or ``*.torchscript``; takes float (N, C, H, W) in [0, 1], gives logits or probabilities.

    Raises:
        InputError: not a TorchScript archive.
    """

    example = "model.torchscript"

    def __init__(self, address: str, context: Context, options: Any) -> None:
        super().__init__(address, context, options)
        try:
            with warnings.catch_warnings():
                warnings.simplefilter("ignore")  # torch.jit is on its way out; its files stay
                self._model = torch.jit.load(address, map_location=context.compute.device).eval()  # type: ignore[no-untyped-call]
        except (RuntimeError, ValueError, OSError) as error:
            reason = str(error).splitlines()[0]
            raise InputError(f"{address}: not a TorchScript archive ({reason}); expected torch.jit.save's") from None

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.endswith((".ts", ".torchscript"))

    @torch.no_grad()
    def answer(self, images: np.ndarray) -> Responses:
        device = self.context.compute.device
        outputs = [self._model(torch.from_numpy(as_input(b)).to(device)).cpu().numpy() for b in in_batches(images)]
        return Responses(to_probabilities(np.concatenate(outputs)))

    def identity(self) -> dict[str, str]:
        return {"kind": "torchscript", "sha256": digest(Path(self.address))}
