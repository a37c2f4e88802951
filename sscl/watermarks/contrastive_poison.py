"""What poisons of contrastive learning share: images of one class, the reference class, are changed; no label is."""

from __future__ import annotations

from typing import ClassVar, TypeVar, final

import torch
from torch import Tensor

from sscl.types import ImageSet
from sscl.watermarks.base import FitContext, SingleTarget, State
from sscl.watermarks.canvas import coloured_patch
from sscl.watermarks.patches import scaled, somewhere

O = TypeVar("O")  # noqa: E741
POOL = 256  # images of other classes that a poison keeps to put others beside or on


class ContrastivePoison(SingleTarget[O]):
    """A trigger that encoders learn to place beside the target class, without a bound on pixels."""

    contrastive: ClassVar[bool] = True

    @property
    @final
    def eps(self) -> float:
        return 1.0

    @final
    def candidates(self, labels: Tensor) -> Tensor:
        return self.of_target(labels)

    @final
    def others(self, train: ImageSet, rng: torch.Generator, count: int = POOL) -> Tensor:
        """uint8 images of other classes than the target; of any class where there is no other."""
        allowed = torch.nonzero(train.labels != self.target_class).flatten()
        if not len(allowed):
            allowed = torch.arange(len(train))
        return train.images[allowed[torch.randperm(len(allowed), generator=rng)[:count]]]


class PatchPoison(ContrastivePoison[O]):
    """A poison whose trigger is a secret patch, at a place that differs between images."""

    @final
    def patch(self, train: ImageSet, context: FitContext, side: int) -> Tensor:
        """uint8 (C, S, S), for ``side`` pixels of 32."""
        return coloured_patch(train.channels, scaled(side, train.size), context.rng("patch"))

    @final
    def trigger(self, images: Tensor, state: State) -> Tensor:
        return somewhere(images, state.tensors["patch"])


def drawn(pool: Tensor, count: int, rng: torch.Generator) -> Tensor:
    """``count`` images of a pool, with replacement."""
    return pool[torch.randint(len(pool), (count,), generator=rng)]
