"""Classifiers inside a secret: methods that attack a model at release time carry it with them."""

from __future__ import annotations

from typing import Any

from torch import Tensor

from sscl.compute import Compute
from sscl.models import Classifier, build
from sscl.watermarks.base import State


def part(state: State, prefix: str) -> dict[str, Tensor]:
    """The tensors whose names start with ``prefix``, without it."""
    return {name.removeprefix(prefix): value for name, value in state.tensors.items() if name.startswith(prefix)}


def held(model: Classifier, prefix: str) -> dict[str, Tensor]:
    """A model's weights under names of a secret."""
    return {f"{prefix}{name}": value.cpu() for name, value in model.state_dict().items()}


def shape(model: Classifier) -> dict[str, Any]:
    """What ``build`` needs to make the model again, for a secret's notes."""
    made = {"name": model.name, "channels": model.channels, "size": model.size, "classes": model.classes}
    return {"model": made}


def opened(state: State, prefix: str, compute: Compute) -> Classifier:
    """The model that ``held`` and ``shape`` put into the secret, frozen."""
    model = build(**state.notes["model"])
    model.load_state_dict(part(state, prefix))
    return compute.place(model).requires_grad_(False).eval()
