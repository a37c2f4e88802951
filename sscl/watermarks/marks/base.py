"""What a family of marks is: changes of an image that a network learns to tell apart."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Mapping

import torch
from torch import Tensor

from sscl.keystream import Keystream
from sscl.registry import Registry

Secret = Mapping[str, Tensor]


class Family(ABC):
    """Some number of marks, drawn with a key before the word exists, so that nothing in them depends on it.

    Attributes:
        most: how many marks the family has room for.
    """

    most: int

    @abstractmethod
    def draw(self, count: int, key: Keystream) -> dict[str, Tensor]:
        """The secret of ``count`` marks; every tensor has one row a mark."""

    @abstractmethod
    def change(self, images: Tensor, marks: Tensor, secret: Secret) -> Tensor:
        """The change at strength one, float32 (N, C, H, W) in [-1, 1].

        Args:
            images: uint8 (N, C, H, W).
            marks: int64 (N,), the mark of each image.
            secret: what ``draw`` gave.
        """

    @abstractmethod
    def stray(self, images: Tensor, rng: torch.Generator) -> Tensor:
        """The change by marks at random that are nobody's, as ``change``."""


FAMILIES: Registry[Family] = Registry("family of marks", "sscl.watermarks.marks", base=Family)
