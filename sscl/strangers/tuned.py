"""A pre-trained network of which a small part is trained: the head, or low-rank changes of its layers."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn
from torch.nn.utils import parametrize

from sscl import seeds
from sscl.config import TrainConfig
from sscl.learning.downstream import linear_probe
from sscl.models import Classifier
from sscl.models.features import last_linear
from sscl.strangers.base import STRANGERS, Stranger, Workplace
from sscl.train import fresh, train_classifier

RANK = 8  # of a layer's change


class _Tuned(Stranger):
    def fits(self, training: TrainConfig) -> bool:
        return training.start != "scratch"


class HeadOnly(_Tuned):
    """Pre-trained weights stay as they are; the last layer is a logistic regression."""

    def model(self, workplace: Workplace) -> Classifier:
        start = fresh(workplace.released, workplace.training, workplace.seed, "stranger")
        return linear_probe(workplace.compute.place(start), workplace.released, workplace.compute)


class LowRank(_Tuned):
    """LoRA: pre-trained weights stay; linear layers and convolutions without groups learn a change of rank 8."""

    def model(self, workplace: Workplace) -> Classifier:
        start = fresh(workplace.released, workplace.training, workplace.seed, "stranger")
        layers = adapted(start, seeds.generator(workplace.seed, "stranger", "low rank"))
        trained = train_classifier(
            workplace.released, workplace.training, workplace.compute, seed=workplace.seed, use="stranger", start=start
        ).model
        for layer in layers:
            parametrize.remove_parametrizations(layer, "weight")
        return trained.requires_grad_(True)


class Change(nn.Module):
    """Adds a matrix of low rank, at first zero, to a weight (rows, ...) (Hu et al. 2021, with a scale of 1)."""

    def __init__(self, weight: Tensor, rng: torch.Generator) -> None:
        super().__init__()
        rows, columns = len(weight), weight[0].numel()
        rank = min(RANK, rows, columns)
        self.down = nn.Parameter(torch.randn(rank, columns, generator=rng) / math.sqrt(columns))
        self.up = nn.Parameter(torch.zeros(rows, rank))

    def forward(self, weight: Tensor) -> Tensor:
        with torch.autocast(weight.device.type, enabled=False):  # as it is when it is added for good
            changed: Tensor = weight + (self.up @ self.down).view_as(weight)
        return changed


def adapted(model: Classifier, rng: torch.Generator) -> list[nn.Module]:
    """Freeze all but the last layer, and give the others' weights a change that can be trained; the layers changed.

    Convolutions in groups (depthwise ones) and the parameters of norms stay frozen; batch statistics follow the data.
    """
    head = last_linear(model)
    model.requires_grad_(False)
    head.requires_grad_(True)
    layers: list[nn.Module] = [
        module
        for module in model.modules()
        if isinstance(module, nn.Linear | nn.Conv2d) and module is not head and getattr(module, "groups", 1) == 1
    ]
    for layer in layers:
        parametrize.register_parametrization(layer, "weight", Change(layer.get_parameter("weight"), rng))
    return layers


STRANGERS.register("head_only")(HeadOnly())
STRANGERS.register("low_rank")(LowRank())
