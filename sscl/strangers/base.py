"""What a stranger has, and what the audit finds: a suspect."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from sscl import seeds
from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier
from sscl.registry import Registry
from sscl.suspects import Context, Oracle
from sscl.suspects.classifier import InMemory
from sscl.train import Practice, train_classifier
from sscl.types import ImageSet


@dataclass(frozen=True)
class Workplace:
    """What a stranger has.

    Attributes:
        released: the release.
        others: the same images in the same order, without marks; they stand for images from elsewhere.
        training: how models are trained here.
        compute: device and precision.
        seed: names the random numbers, with a use.
        folder: for files; there.
    """

    released: ImageSet
    others: ImageSet
    training: TrainConfig
    compute: Compute
    seed: int
    folder: Path

    def trained(self, data: ImageSet, use: str = "stranger", practice: Practice | None = None) -> Classifier:
        """A fresh model on ``data``; the same use gives the same random numbers."""
        return train_classifier(data, self.training, self.compute, seed=self.seed, use=use, practice=practice).model

    @cached_property
    def usual(self) -> Classifier:
        """The model that plain training on the release gives; not to be changed."""
        return self.compute.place(self.trained(self.released))

    def shuffled(self, count: int, use: str) -> Tensor:
        """int64 (count,): a random order."""
        return torch.randperm(count, generator=seeds.generator(self.seed, "stranger", use))


class Stranger(ABC):
    """One way to use a release."""

    @property
    def about(self) -> str:
        """What it does, in a few words for a table."""
        return (type(self).__doc__ or "").strip()

    def fits(self, training: TrainConfig) -> bool:
        """Whether it can be tried where models are trained in this way."""
        return True

    def taught(self, classes: int) -> Tensor:
        """int64 (classes,): the suspect's class of each of the dataset's classes, -1 for one that it has not."""
        return torch.arange(classes)

    @abstractmethod
    def model(self, workplace: Workplace) -> Classifier:
        """What is trained, in evaluation mode."""

    def suspect(self, workplace: Workplace) -> Oracle:
        """The model as others may ask it; its classes are those of ``taught``."""
        return InMemory(workplace.compute.place(self.model(workplace)), context_of(workplace, self))


def context_of(workplace: Workplace, stranger: Stranger) -> Context:
    """Names of classes where the suspect has the dataset's, none where it has its own."""
    names = workplace.released.class_names
    same = torch.equal(stranger.taught(len(names)), torch.arange(len(names)))
    return Context(names if same else None, workplace.compute)


STRANGERS: Registry[Stranger] = Registry("stranger", "sscl.strangers", base=Stranger)
