"""Trainings with what is usual beside plain cross-entropy."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.attacks.robust_training import Mixup, RandAugment
from sscl.compute import uncompiled
from sscl.models import Classifier
from sscl.strangers.base import STRANGERS, Stranger, Workplace
from sscl.train import Practice

DECAY = 0.995  # of averaged weights, a step
SMOOTHING = 0.1  # of labels


class _Practised(Stranger):
    def __init__(self, about: str, practice: Practice) -> None:
        self._about, self.practice = about, practice

    @property
    def about(self) -> str:
        return self._about

    def model(self, workplace: Workplace) -> Classifier:
        return workplace.trained(workplace.released, practice=self.practice)


class CutMix(Practice):
    """Yun et al. 2019: a box of another image of the batch, as large as its share of the label; uniform shares."""

    def loss(self, model: Classifier, x: Tensor, labels: Tensor, rng: torch.Generator) -> Tensor:
        order = torch.randperm(len(x), generator=rng).to(x.device)
        size, draws = x.shape[-1], torch.rand(3, generator=rng).tolist()
        side = round(size * (1 - draws[0]) ** 0.5)
        top, left = (min(int(draw * (size - side + 1)), size - side) for draw in draws[1:])
        mixed = x.clone()
        mixed[..., top : top + side, left : left + side] = x[order][..., top : top + side, left : left + side]
        other, answers = side * side / (size * size), model(mixed)
        own, pasted = F.cross_entropy(answers, labels), F.cross_entropy(answers, labels[order])
        loss: Tensor = (1 - other) * own + other * pasted
        return loss


class _Averaging(Practice):
    """Keeps a running average of the weights."""

    def __init__(self, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing)
        self.weights: dict[str, Tensor] = {}

    @torch.no_grad()
    def adjust(self, model: Classifier, rng: torch.Generator) -> None:
        for name, parameter in uncompiled(model).named_parameters():
            if name in self.weights:
                self.weights[name].lerp_(parameter, 1 - DECAY)
            else:
                self.weights[name] = parameter.clone()


class AveragedWeights(Stranger):
    """An exponential moving average of the weights."""

    def model(self, workplace: Workplace) -> Classifier:
        practice = _Averaging(workplace.training.label_smoothing)
        model = workplace.trained(workplace.released, practice=practice)
        model.load_state_dict({**model.state_dict(), **practice.weights})
        return settled(model, workplace)


@torch.no_grad()
def settled(model: Classifier, workplace: Workplace) -> Classifier:
    """The model with batch statistics of its own weights, over an epoch's images (Izmailov et al. 2018)."""
    norms = [module for module in model.modules() if isinstance(module, torch.nn.BatchNorm2d)]
    if norms:
        for norm in norms:
            norm.reset_running_stats()
            norm.momentum = None  # the mean over all batches
        model.train()
        for images in torch.split(workplace.released.images, workplace.training.batch_size):
            model(workplace.compute.floats(images))
    return model.eval()


STRANGERS.register("rand_augment")(_Practised("RandAugment, two operations of magnitude 9.", RandAugment().practice(9)))
STRANGERS.register("mixup")(_Practised("Mixup, alpha 1.", Mixup().practice(1.0)))
STRANGERS.register("cutmix")(_Practised("CutMix, with uniform shares.", CutMix()))
STRANGERS.register("label_smoothing")(_Practised("Label smoothing 0.1.", Practice(SMOOTHING)))
STRANGERS.register("averaged_weights")(AveragedWeights())
