"""What a peer promises: a release with the owner's evidence, and a p-value from a suspect's answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from torch import Tensor

from sscl.keystream import Keystream
from sscl.registry import Registry
from sscl.statistics.effects import scores
from sscl.types import ImageSet, Responses

Ask = Callable[[Tensor], Responses]  # uint8 (N, C, H, W) -> answers over the dataset's classes


@dataclass(frozen=True)
class Evidence:
    """What the owner keeps.

    Attributes:
        published, withheld: images of which the first was published and the second could have been, in pairs.
    """

    published: ImageSet
    withheld: ImageSet

    def scores(self, ask: Ask, queries: int) -> tuple[np.ndarray, np.ndarray]:
        """How surely a suspect answers each published and withheld image with its class: float64 (N,) each."""
        count = min(queries // 2, len(self.published))
        first, second = (
            scores(ask(part.images[:count]))[np.arange(count), part.labels[:count].numpy()]
            for part in (self.published, self.withheld)
        )
        return first, second


class Peer(ABC):
    """A method whose evidence is what a model remembers of single images."""

    @abstractmethod
    def release(self, data: ImageSet, rate: float, eps: float, key: Keystream) -> tuple[ImageSet, Evidence]:
        """The dataset as it is published, and the evidence.

        Args:
            data: clean.
            rate: share of the images that evidence is kept of.
            eps: largest change of a pixel, in [0, 1].
            key: all of its randomness.
        """

    @abstractmethod
    def p_value(self, ask: Ask, evidence: Evidence, queries: int) -> float:
        """From at most so many queries of a suspect."""


PEERS: Registry[Peer] = Registry("peer", "sscl.peers")
