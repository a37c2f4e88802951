"""What poison-label methods share: a visible trigger, and labels that are changed."""

from __future__ import annotations

from typing import ClassVar, TypeVar, final

import torch
from torch import Tensor

from sscl.watermarks.base import SingleTarget, State

O = TypeVar("O")  # noqa: E741


class PoisonLabel(SingleTarget[O]):
    """A fixed trigger without a bound on pixels, and labels that are changed."""

    clean_label: ClassVar[bool] = False

    @property
    @final
    def eps(self) -> float:
        return 1.0


class Relabelled(PoisonLabel[O]):
    """Images of all other classes, which become the target class."""

    @final
    def candidates(self, labels: Tensor) -> Tensor:
        return torch.nonzero(labels != self.target_class).flatten()

    @final
    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.trigger(images, state), torch.full_like(labels, self.target_class)
