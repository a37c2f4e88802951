"""Resumable training state: safetensors on disk, so that a killed run goes on and ends with the same weights."""

from __future__ import annotations

import json
import shutil
from collections.abc import Mapping
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save
from torch import Tensor, nn

from sscl.artifacts import write_atomically


class Checkpoint:
    """The last finished epoch of one training run, in ``folder/last.safetensors`` (one file, replaced atomically)."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.path = folder / "last.safetensors"

    def part(self, name: str) -> Checkpoint:
        """The checkpoint of one of several trainings of a stage, in a folder of its own."""
        return Checkpoint(self.folder / name)

    def save(
        self, model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator, losses: list[float]
    ) -> None:
        """Write weights, optimiser state, random state and the losses so far."""
        tensors: dict[str, Tensor] = {"order": order.get_state()}
        tensors.update({f"model.{k}": v.contiguous() for k, v in model.state_dict().items()})
        for index, state in optimizer.state_dict()["state"].items():
            tensors.update({f"optimizer.{index}.{k}": torch.as_tensor(v).contiguous() for k, v in state.items()})
        self.folder.mkdir(parents=True, exist_ok=True)
        write_atomically(self.path, save(tensors, metadata={"losses": json.dumps(losses)}))

    def resume(self, model: nn.Module, optimizer: torch.optim.Optimizer, order: torch.Generator) -> list[float]:
        """Load the last state into the arguments; returns the losses so far, empty if there is nothing usable."""
        if not self.path.is_file():
            return []
        try:
            with safe_open(self.path, framework="pt") as file:
                losses = [float(loss) for loss in json.loads((file.metadata() or {})["losses"])]
                tensors = {key: file.get_tensor(key) for key in file.keys()}  # noqa: SIM118 - not a dict
            state = tensors.pop("order")
        except (SafetensorError, KeyError, OSError, ValueError, TypeError):
            return []
        order.set_state(state)
        model.load_state_dict({k.removeprefix("model."): v for k, v in tensors.items() if k.startswith("model.")})
        self._load_optimizer(optimizer, tensors)
        return losses

    def discard(self) -> None:
        """Remove it: the artifact that it led to is there."""
        shutil.rmtree(self.folder, ignore_errors=True)

    @staticmethod
    def _load_optimizer(optimizer: torch.optim.Optimizer, tensors: Mapping[str, Tensor]) -> None:
        state: dict[int, dict[str, Tensor]] = {}
        for key, value in tensors.items():
            if key.startswith("optimizer."):
                _, index, name = key.split(".")
                state.setdefault(int(index), {})[name] = value
        optimizer.load_state_dict({"state": state, "param_groups": optimizer.state_dict()["param_groups"]})
