"""What a suspect is asked: images without a mark and under each mark, in several views where those are compared."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.audit.record import Sent
from sscl.config import AuditConfig
from sscl.keystream import Keystream
from sscl.statistics.effects import STATISTICS
from sscl.types import BENIGN, ImageSet
from sscl.watermarks.base import State
from sscl.watermarks.ownership_code import OwnershipCode

SMALLEST = 0.4  # share of an image that a view shows at least
BATCH = 256  # images that are cropped at a time


@dataclass(frozen=True)
class Questions:
    """The images of an audit.

    Attributes:
        images: the verification images as they are sent without a mark, in their classes; views of one in a row.
        sent: these, and the same under each mark, see ``sscl.audit.protocol.ask``.
    """

    images: ImageSet
    sent: Sent


def questions_for(
    test: ImageSet, watermark: OwnershipCode, state: State, *, config: AuditConfig, key: Keystream
) -> Questions:
    """Draw images and views with the key; no word is needed.

    Args:
        test: the test images.
        watermark, state: the marks.
        config: the protocol.
        key: for a commitment, a part of the salt's, so that nobody knows the images before the opening.
    """
    views = STATISTICS[config.statistic].views
    chosen = verification_images(test, config.images, key)
    sent, labels = watermark.queries(chosen.images, state), chosen.labels.repeat_interleave(views)
    if views > 1:
        crops = _drawn(len(labels), key.part("views"))
        sent = {mark: cropped(images.repeat_interleave(views, dim=0), crops) for mark, images in sent.items()}
    return Questions(ImageSet(sent[BENIGN], labels, chosen.class_names), sent)


def verification_images(data: ImageSet, count: int, key: Keystream) -> ImageSet:
    """``count`` test images (all, if there are fewer), as many of one class as of another as far as they go.

    Every class's images come in random order, and every part from the first image on has all classes alike.
    """
    order = torch.from_numpy(key.permutation(len(data)))
    turn = torch.zeros(len(order), dtype=torch.int64)
    for group in range(data.classes):
        members = data.labels[order] == group
        turn[members] = torch.arange(int(members.sum()))
    return data.subset(order[turn.argsort(stable=True)[:count]])


def _drawn(count: int, key: Keystream) -> Tensor:
    """Crops of ``count`` images, as affine maps: float32 (N, 2, 3). Half of them mirror."""
    area, across, down, mirrored = torch.from_numpy(key.uniform((4, count)))
    side = (SMALLEST + (1 - SMALLEST) * area).sqrt()
    crops = torch.zeros(count, 2, 3, dtype=torch.float64)
    crops[:, 0, 0] = side * torch.where(mirrored < 0.5, 1.0, -1.0)
    crops[:, 1, 1] = side
    crops[:, :, 2] = (1 - side)[:, None] * (2 * torch.stack((across, down), dim=1) - 1)
    return crops.float()


def cropped(images: Tensor, crops: Tensor) -> Tensor:
    """uint8 (N, C, H, W): every image cropped as its affine map, float32 (N, 2, 3), says, and resized to its size."""
    done = [images[:0]]
    for some, maps in zip(torch.split(images, BATCH), torch.split(crops, BATCH), strict=True):
        grid = F.affine_grid(maps, list(some.shape), align_corners=False)
        found = F.grid_sample(some.float(), grid, padding_mode="border", align_corners=False)
        done.append(found.round().clamp(0, 255).byte())
    return torch.cat(done)
