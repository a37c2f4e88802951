"""Other classes than the owner's: a part of them, or coarser ones."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl.models import Classifier
from sscl.strangers.base import STRANGERS, Stranger, Workplace
from sscl.types import ImageSet


class _OtherClasses(Stranger):
    def model(self, workplace: Workplace) -> Classifier:
        released = workplace.released
        labels = self.taught(released.classes)[released.labels]
        names = tuple(str(number) for number in range(int(labels.max()) + 1))
        return workplace.trained(ImageSet(released.images[labels >= 0], labels[labels >= 0], names))


class ClassSubset(_OtherClasses):
    """Trained on half of the classes."""

    def taught(self, classes: int) -> Tensor:
        numbers = torch.arange(classes)
        return torch.where(numbers < (classes + 1) // 2, numbers, -1)


class ClassMerging(_OtherClasses):
    """Classes are merged in pairs."""

    def taught(self, classes: int) -> Tensor:
        return torch.arange(classes) // 2


STRANGERS.register("class_subset")(ClassSubset())
STRANGERS.register("class_merging")(ClassMerging())
