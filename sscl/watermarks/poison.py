"""What poison-label methods share: images of any other class get the trigger and the target label."""

from __future__ import annotations

from abc import abstractmethod
from typing import ClassVar, TypeVar, final

import torch
from torch import Tensor

from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import FitContext, State, Watermark

O = TypeVar("O")  # noqa: E741


class PoisonLabel(Watermark[O]):
    """A fixed trigger without a bound on pixels, and labels that are changed to the target class."""

    clean_label: ClassVar[bool] = False

    @property
    @final
    def eps(self) -> float:
        return 1.0

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        """Nothing is trained; methods with a random trigger draw it here."""
        return State()

    def candidates(self, labels: Tensor) -> Tensor:
        return torch.nonzero(labels != self.target_class).flatten()

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.trigger(images, state), torch.full_like(labels, self.target_class)

    @abstractmethod
    def trigger(self, images: Tensor, state: State) -> Tensor: ...
