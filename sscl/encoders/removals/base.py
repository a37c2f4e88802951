"""What a removal is: an encoder in, another encoder out, by somebody who has images of his own and no secret."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass

from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier
from sscl.registry import Registry
from sscl.types import ImageSet


@dataclass(frozen=True)
class Thief:
    """What a thief has.

    Attributes:
        images: of its own, clean.
        training: how it trains contrastively.
        compute: device and precision.
        seed: names its random numbers, with the removal's name.
    """

    images: ImageSet
    training: TrainConfig
    compute: Compute
    seed: int


class EncoderRemoval(ABC):
    """An attempt to get rid of an encoder's watermark."""

    @abstractmethod
    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        """Another encoder; the one that is given is left as it is."""


REMOVALS: Registry[EncoderRemoval] = Registry("removal from encoders", "sscl.encoders.removals")
