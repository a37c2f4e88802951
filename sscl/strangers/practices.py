"""Trainings with what is usual beside plain cross-entropy."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import torch
from torch import Tensor
from torch.optim.swa_utils import AveragedModel, get_ema_avg_fn, update_bn

from sscl import seeds
from sscl.attacks.robust_training import Mixup, RandAugment
from sscl.compute import uncompiled
from sscl.config import TrainConfig
from sscl.data.augment import AUGMENTATIONS
from sscl.models import Classifier
from sscl.strangers.base import STRANGERS, Stranger, Workplace
from sscl.train import Practice

DECAY = 0.995  # of averaged weights, a step
SMOOTHING = 0.1  # of labels


class _Practised(Stranger):
    def __init__(self, about: str, practice: Callable[[], Practice]) -> None:
        self._about, self.practice = about, practice

    @property
    def about(self) -> str:
        return self._about

    def model(self, workplace: Workplace) -> Classifier:
        return workplace.trained(workplace.released, practice=self.practice())


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
        own, pasted = self.cross_entropy(answers, labels), self.cross_entropy(answers, labels[order])
        loss: Tensor = (1 - other) * own + other * pasted
        return loss


class _Averaging(Practice):
    """Keeps a running average of the weights."""

    averaged: AveragedModel | None = None

    def adjust(self, model: Classifier, rng: torch.Generator) -> None:
        plain = uncompiled(model)
        self.averaged = self.averaged or AveragedModel(plain, avg_fn=get_ema_avg_fn(DECAY))  # type: ignore[no-untyped-call]
        self.averaged.update_parameters(plain)


class SmoothedLabels(Stranger):
    """Label smoothing 0.1."""

    def fits(self, training: TrainConfig) -> bool:
        return training.label_smoothing < SMOOTHING

    def model(self, workplace: Workplace) -> Classifier:
        smooth = replace(workplace, training=replace(workplace.training, label_smoothing=SMOOTHING))
        return smooth.trained(workplace.released)


class AveragedWeights(Stranger):
    """An exponential moving average of the weights."""

    def model(self, workplace: Workplace) -> Classifier:
        practice = _Averaging()
        model = workplace.trained(workplace.released, practice=practice)
        assert practice.averaged is not None
        model.load_state_dict({**model.state_dict(), **dict(practice.averaged.module.named_parameters())})
        return settled(model, workplace)


@torch.no_grad()
def settled(model: Classifier, workplace: Workplace) -> Classifier:
    """The model with batch statistics of its own weights, over an epoch as in training (Izmailov et al. 2018)."""
    data, training = workplace.released, workplace.training
    rng, augmentation = seeds.generator(workplace.seed, "batch statistics"), AUGMENTATIONS[training.augment]()
    choices = augmentation.draw(len(data), rng)
    batches = torch.split(torch.randperm(len(data), generator=rng), training.batch_size)
    update_bn((workplace.compute.floats(augmentation.apply(data.images[b], choices[b])) for b in batches), model)
    return model.eval()


STRANGERS.register("rand_augment")(
    _Practised("RandAugment, two operations of magnitude 9.", lambda: RandAugment().practice(9))
)
STRANGERS.register("mixup")(_Practised("Mixup, alpha 1.", lambda: Mixup().practice(1.0)))
STRANGERS.register("cutmix")(_Practised("CutMix, with uniform shares.", CutMix))
STRANGERS.register("label_smoothing")(SmoothedLabels())
STRANGERS.register("averaged_weights")(AveragedWeights())
