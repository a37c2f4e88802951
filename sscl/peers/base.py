"""What a peer promises: a release with the owner's evidence, and a p-value from a suspect's answers."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import numpy as np
from torch import Tensor

from sscl.compute import Compute
from sscl.keystream import Keystream
from sscl.models import Classifier
from sscl.registry import Registry
from sscl.statistics.effects import scores
from sscl.types import ImageSet, Responses

Ask = Callable[[Tensor], Responses]  # uint8 (N, C, H, W) -> answers over the dataset's classes


@dataclass(frozen=True)
class Owner:
    """What an owner has besides the dataset.

    Attributes:
        surrogate: a classifier that was trained on the clean dataset.
        compute: device and precision.
        key: all of the release's randomness.
    """

    surrogate: Classifier
    compute: Compute
    key: Keystream


@dataclass(frozen=True)
class Pairs:
    """Evidence of peers that compare images.

    Attributes:
        published, withheld: images of which the first was published and the second could have been.
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


E = TypeVar("E")


class Peer(ABC, Generic[E]):
    """Another method of ownership verification; ``E`` is the evidence that it keeps.

    Attributes:
        exact: whether its p-value bounds how often innocent models are accused.
        clean_label: whether labels stay as they are.
    """

    exact: ClassVar[bool] = True
    clean_label: ClassVar[bool] = True

    @abstractmethod
    def release(self, data: ImageSet, rate: float, eps: float, owner: Owner) -> tuple[ImageSet, E]:
        """The dataset as it is published, and the evidence.

        Args:
            data: clean.
            rate: share of the images that are changed, or withheld.
            eps: largest change of a pixel, in [0, 1].
            owner: who releases it.
        """

    @abstractmethod
    def p_value(self, ask: Ask, evidence: E, queries: int) -> float:
        """From at most so many queries of a suspect."""


PEERS: Registry[Peer[Any]] = Registry("peer", "sscl.peers", base=Peer)
