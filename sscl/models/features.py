"""A classifier's last hidden features: what its last linear layer is given."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

from sscl.compute import Compute, uncompiled

if TYPE_CHECKING:
    from sscl.models.base import Classifier


def last_linear(model: nn.Module) -> nn.Linear:
    """The last linear layer in the order of definition.

    Raises:
        ValueError: the model has none.
    """
    layers = [module for module in model.modules() if isinstance(module, nn.Linear)]
    if not layers:
        raise ValueError("the model has no linear layer")
    return layers[-1]


def head_of(model: nn.Module) -> set[str]:
    """The names of that layer's weights."""
    last = last_linear(model)
    (name,) = (name for name, module in model.named_modules() if module is last)
    return {f"{name}.weight", f"{name}.bias"}


def width(model: nn.Module) -> int:
    """How many features an image has."""
    return last_linear(model).in_features


def features(model: Classifier, x: Tensor) -> Tensor:
    """float (N, C, H, W) in [0, 1] -> (N, D), differentiable."""
    held: list[Tensor] = []
    model = uncompiled(model)
    hook = last_linear(model).register_forward_pre_hook(lambda _, inputs: held.append(inputs[0]))
    try:
        model(x)
    finally:
        hook.remove()
    return held[0].flatten(1)


@torch.no_grad()
def all_features(model: Classifier, images: Tensor, compute: Compute) -> Tensor:
    """Features, float32 (N, D) on the CPU, of uint8 images (N, C, H, W)."""
    model.eval()
    return torch.cat([features(model, compute.floats(part)).float().cpu() for part in torch.split(images, 1000)])
