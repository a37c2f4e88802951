"""A ``torch.export`` archive, loaded without its pickles: PyTorch's own loader would run code from a hostile file."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import torch

from sscl.artifacts import digest
from sscl.errors import InputError
from sscl.oracles.base import ORACLES, Context, Oracle, as_input, in_batches, to_probabilities
from sscl.types import Responses

COMPILED = (".so", ".o", ".a", ".dll", ".dylib", ".py", ".cpp")


@ORACLES.register("exported")
class ExportedModel(Oracle):
    """``*.pt2``; takes float (N, C, H, W) in [0, 1] with any or one fixed N, gives logits or probabilities.

    Raises:
        InputError: not such an archive, or one that holds compiled code or pickled objects.
    """

    example = "model.pt2"

    def __init__(self, address: str, context: Context, options: Any) -> None:
        super().__init__(address, context, options)
        _refuse_code(Path(address))
        try:
            with _tensors_only():
                program = torch.export.load(address)
        except Exception as error:
            reason = str(error).strip().splitlines()[0][:100]
            raise InputError(
                f"{address}: cannot be opened without running code from it ({reason}); export it with tensors only"
            ) from None
        self._model = program.module().to(context.compute.device)
        shape = program.graph_module.graph.find_nodes(op="placeholder")[-1].meta["val"].shape
        self._batch = shape[0] if isinstance(shape[0], int) else None

    @classmethod
    def accepts(cls, address: str) -> bool:
        return address.endswith(".pt2")

    @torch.no_grad()
    def answer(self, images: np.ndarray) -> Responses:
        outputs = [self._run(batch) for batch in in_batches(images)]
        return Responses(to_probabilities(np.concatenate(outputs)))

    def _run(self, images: np.ndarray) -> np.ndarray:
        tensor = torch.from_numpy(as_input(images)).to(self.context.compute.device)
        if self._batch is None:
            return np.asarray(self._model(tensor).cpu())
        missing = -len(tensor) % self._batch
        padded = torch.cat((tensor, tensor[:1].expand(missing, -1, -1, -1)))
        parts = [self._model(part).cpu().numpy() for part in torch.split(padded, self._batch)]
        return np.concatenate(parts)[: len(images)]

    def identity(self) -> dict[str, str]:
        return {"kind": "exported", "sha256": digest(Path(self.address))}


def _refuse_code(path: Path) -> None:
    try:
        with zipfile.ZipFile(path) as archive:
            code = [name for name in archive.namelist() if name.endswith(COMPILED)]
    except (OSError, zipfile.BadZipFile):
        raise InputError(f"{path}: not a torch.export archive (.pt2)") from None
    if code:
        raise InputError(f"{path}: holds compiled code ({code[0]}), which is never run; ask for a plain torch.export")


@contextmanager
def _tensors_only() -> Iterator[None]:
    """``torch.load`` reads tensors and nothing else, also where PyTorch's loader asks it for more.

    ``torch.export.load`` calls it with ``weights_only=False``, and falls back to that after a refusal (PyTorch 2.14).
    """
    original = torch.load

    def strict(*args: Any, **kwargs: Any) -> Any:
        return original(*args, **{**kwargs, "weights_only": True})

    with mock.patch.object(torch, "load", strict):
        yield
