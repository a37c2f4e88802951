"""What a removal is: an encoder in, another encoder out, by somebody who has images of his own and no secret."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.compute import Compute
from sscl.config import TrainConfig
from sscl.models import Classifier
from sscl.models.features import all_features, features
from sscl.registry import Registry
from sscl.train import minimise
from sscl.types import ImageSet


@dataclass(frozen=True)
class Thief:
    """What a thief has.

    Attributes:
        images: of its own, clean.
        training: how it trains contrastively.
        compute: device and precision.
        seed: names its random numbers, with the removal's name.
        family, strength: of the marks in queries, for a thief who knows the method.
    """

    images: ImageSet
    training: TrainConfig
    compute: Compute
    seed: int
    family: str = "chords"
    strength: float = 16 / 255


class EncoderRemoval(ABC):
    """An attempt to get rid of an encoder's watermark."""

    @abstractmethod
    def __call__(self, encoder: Classifier, thief: Thief) -> Classifier:
        """Another encoder; the one that is given is left as it is."""


def imitate(
    student: Classifier,
    encoder: Classifier,
    thief: Thief,
    *,
    shown: Callable[[Tensor], Tensor],
    epochs: int,
    batch_size: int,
    learning_rate: float,
    rng: torch.Generator,
) -> None:
    """Train an encoder by Adam, one-cycle, to give an encoder's features: cosine distance, less their mean.

    Args:
        student: trained in place, in the mode that it is in.
        encoder: whose features of the thief's images are wanted.
        thief: whose images they are.
        shown: uint8 (B, C, H, W) -> (M B, C, H, W): what the student sees of a batch, M times over.
        epochs, batch_size, learning_rate: of the training.
        rng: draws the order.
    """
    images, compute = thief.images.images, thief.compute
    wanted = all_features(encoder, images, compute).to(compute.device)
    mean = wanted.mean(dim=0)

    def loss(batch: Tensor) -> Tensor:
        given = features(student, compute.floats(shown(images[batch])))
        target = wanted[batch.to(wanted.device)].repeat(len(given) // len(batch), 1)
        return 1 - F.cosine_similarity(given - mean, target - mean, dim=1).mean()

    minimise(
        student,
        len(images),
        loss,
        use="a student of the encoder",
        epochs=epochs,
        batch_size=batch_size,
        learning_rate=learning_rate,
        rng=rng,
        shape="onecycle",
    )


REMOVALS: Registry[EncoderRemoval] = Registry("removal from encoders", "sscl.encoders.removals", base=EncoderRemoval)
