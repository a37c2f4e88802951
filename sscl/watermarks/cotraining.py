"""Strangers' models that grow up with the watermark: each is trained on the set as one key would mark it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.data.augment import AUGMENTATIONS
from sscl.models import Classifier, build
from sscl.train import OPTIMIZERS
from sscl.types import ImageSet
from sscl.watermarks.carriers import Key

WARM_UP = 25  # batches before a fresh member has an opinion worth asking for


@dataclass
class Member:
    """One co-trained model, its key and target class, and which training images they mark."""

    model: Classifier
    optimizer: torch.optim.Optimizer
    key: Key
    target: int
    marked: Tensor  # bool (N,)


Marker = Callable[[Tensor, Tensor, Member], Tensor]  # uint8 images, labels, whose key -> marked uint8


class Population:
    """Co-trained models in turn; a member that has had ``lifetime`` batches is replaced by a fresh one with a new key.

    Args:
        data: clean training images.
        training: how the strangers train; only architecture, batch size, optimiser and augmentation matter here.
        compute: device and precision.
        draw: a new key, its target class, and the mask of the images that they mark.
        size: how many members.
        lifetime: batches in a member's life.
        rng: the source of every draw.
    """

    def __init__(
        self,
        data: ImageSet,
        training: TrainConfig,
        compute: Compute,
        draw: Callable[[torch.Generator], tuple[Key, int, Tensor]],
        size: int,
        lifetime: int,
        rng: torch.Generator,
    ) -> None:
        self._data, self._training, self._compute = data, training, compute
        self._draw, self._lifetime, self._rng = draw, lifetime, rng
        self._augmentation = AUGMENTATIONS[training.augment]()
        self._ages = [lifetime * number // size for number in range(size)]  # staggered, so that ages differ
        self.members = [self._fresh() for _ in range(size)]

    def _fresh(self) -> Member:
        data = self._data
        model = build(self._training.model, data.channels, data.size, data.classes, self._rng)
        model.normalise_as(data.images)
        model = self._compute.place(model)
        optimizer = OPTIMIZERS[self._training.optimizer](list(model.parameters()), self._training)
        return Member(model, optimizer, *self._draw(self._rng))

    def train(self, number: int, mark: Marker) -> Member:
        """One batch for member ``number``, marked as its key would mark it now; the member, ready to be asked."""
        if self._ages[number] >= self._lifetime:
            self.members[number], self._ages[number] = self._fresh(), 0
        member = self.members[number]
        member.model.train().requires_grad_(True)
        for _ in range(WARM_UP if self._ages[number] == 0 else 1):
            self._batch(member, mark)
            self._ages[number] += 1
        member.model.eval().requires_grad_(False)
        return member

    def _batch(self, member: Member, mark: Marker) -> None:
        batch = torch.randint(len(self._data), (self._training.batch_size,), generator=self._rng)
        images, labels = self._data.images[batch], self._data.labels[batch]
        chosen = member.marked[batch]
        if chosen.any():
            images[chosen] = mark(images[chosen], labels[chosen], member)
        images = self.augmented(images)
        member.optimizer.zero_grad(set_to_none=True)
        with self._compute.autocast():
            loss = F.cross_entropy(member.model(self._compute.floats(images)), labels.to(self._compute.device))
        loss.backward()  # type: ignore[no-untyped-call]
        member.optimizer.step()

    def augmented(self, images: Tensor) -> Tensor:
        """Images as a stranger's training sees them."""
        choices = self._augmentation.draw(len(images), self._rng).to(images.device)
        return self._augmentation.apply(images, choices)
