"""Images that are stored again before the training: other files, other sizes."""

from __future__ import annotations

from abc import abstractmethod
from functools import partial

import torch
from torch import Tensor

from sscl.attacks.base import Filtered
from sscl.attacks.query_filters import resize
from sscl.data.jpeg import encoded
from sscl.models import Classifier
from sscl.strangers.base import STRANGERS, Stranger, Workplace
from sscl.types import ImageSet

BATCH = 1000


class _Reencoded(Stranger):
    def model(self, workplace: Workplace) -> Classifier:
        released = workplace.released
        images = torch.cat([self.stored(part) for part in torch.split(released.images, BATCH)])
        return workplace.trained(ImageSet(images, released.labels, released.class_names))

    @abstractmethod
    def stored(self, images: Tensor) -> Tensor:
        """uint8 (N, C, H, W) as they are read again."""


class Jpeg(_Reencoded):
    """Every image stored as JPEG, quality 50."""

    def stored(self, images: Tensor) -> Tensor:
        return encoded(images, 50)


class Halved(_Reencoded):
    """Every image stored at half of its size, and enlarged for the training; queries go the same way."""

    def model(self, workplace: Workplace) -> Classifier:
        return Filtered(super().model(workplace), partial(resize, share=0.5)).eval()

    def stored(self, images: Tensor) -> Tensor:
        return (resize(images.float(), 0.5)).round().clamp(0, 255).to(torch.uint8)


STRANGERS.register("jpeg_50")(Jpeg())
STRANGERS.register("halved")(Halved())
