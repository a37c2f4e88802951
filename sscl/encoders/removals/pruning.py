"""Magnitude pruning: the smallest weights of all convolutions become zero (Han et al. 2015)."""

from __future__ import annotations

import torch
from torch import nn

from sscl.encoders.removals.base import REMOVALS, EncoderRemoval, Thief
from sscl.learning.base import frozen
from sscl.models import Classifier

SHARE = 0.6  # of the weights


class Pruning(EncoderRemoval):
    """No retraining."""

    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        found = frozen(encoder)
        weights = [module.weight for module in found.modules() if isinstance(module, nn.Conv2d)]
        sizes = torch.cat([weight.abs().flatten() for weight in weights])
        least = sizes.kthvalue(max(1, round(SHARE * len(sizes)))).values
        for weight in weights:
            weight.data.mul_(weight.abs() > least)
        return found


REMOVALS.register("pruning")(Pruning())
