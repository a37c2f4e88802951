"""What a family of marks is: changes of an image that a network learns to tell apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from sscl.keystream import Keystream
from sscl.models import Classifier
from sscl.registry import Registry
from sscl.types import ImageSet
from sscl.watermarks.base import FitContext

Secret = Mapping[str, Tensor]


@dataclass(frozen=True)
class Lesson:
    """What a family may learn from, before the word exists.

    Attributes:
        train: the owner's clean images.
        surrogate: the owner's classifier.
        context: device, key, and how the surrogate was trained.
        eps: the largest change of a pixel, in [0, 1].
        jpeg_quality: of the encoder that marked images go through; ``None`` for none.
    """

    train: ImageSet
    surrogate: Classifier
    context: FitContext
    eps: float
    jpeg_quality: int | None


class Family(ABC):
    """Some number of marks, drawn with a key before the word exists, so that nothing in them depends on it.

    Attributes:
        most: how many marks the family has room for.
    """

    most: int

    @abstractmethod
    def draw(self, count: int, channels: int, key: Keystream) -> dict[str, Tensor]:
        """The secret of ``count`` marks for images of so many channels; every tensor has one row a mark."""

    def learn(self, secret: Secret, lesson: Lesson) -> dict[str, Tensor]:
        """The secret with whatever else marks need. Most families learn nothing."""
        return dict(secret)

    @abstractmethod
    def change(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        """The change at strength one, float32 (N, C, H, W) in [-1, 1].

        Args:
            images: uint8 (N, C, H, W).
            marks: int64 (N,), the mark of each image.
            secret: what ``learn`` gave.
        """

    @abstractmethod
    def stray(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """The change by marks at random that are nobody's, as ``change``."""

    def asked(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        """The change of images that a suspect is sent; as ``change``, unless a family releases less than it asks."""
        return self.change(images, marks, secret)


FAMILIES: Registry[Family] = Registry("family of marks", "sscl.watermarks.marks")
