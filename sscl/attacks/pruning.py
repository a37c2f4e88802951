"""Pruning of the last linear layer's inputs that are least active on clean images (Liu et al. 2018)."""

from __future__ import annotations

import torch
from torch import Tensor
from torch.nn.utils import prune

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier
from sscl.models.features import all_features, last_linear


def least_active(model: Classifier, attacker: Attacker, share: float) -> Tensor:
    """bool (D,): the ``share`` of the last layer's inputs with the smallest mean activation on clean images."""
    active = all_features(model, attacker.clean.images, attacker.compute).mean(dim=0)
    dropped = torch.zeros(len(active), dtype=torch.bool)
    dropped[active.argsort(stable=True)[: round(share * len(active))]] = True
    return dropped


def mask_inputs(model: Classifier, dropped: Tensor) -> None:
    """Hold the weights of the dropped inputs at zero until ``prune.remove``."""
    layer = last_linear(model)
    keep = (~dropped).to(layer.weight.device, layer.weight.dtype).expand_as(layer.weight)
    prune.custom_from_mask(layer, "weight", keep)  # type: ignore[no-untyped-call]


def finish(model: Classifier) -> Classifier:
    """Make the mask permanent."""
    prune.remove(last_linear(model), "weight")  # type: ignore[no-untyped-call]
    return model


class Pruning(Removal):
    """No retraining: the paper's pruning resistance."""

    unit, usual, grid = "share of inputs", 0.4, (0.2, 0.4, 0.6, 0.8, 0.9)

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        mask_inputs(model, least_active(model, attacker, min(strength, 1.0)))
        return finish(model)


REMOVALS.register("pruning")(Pruning())
