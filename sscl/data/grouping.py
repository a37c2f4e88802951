"""Groups of images that have no labels: k-means on AlexNet's features (Krizhevsky 2012), the network of LPIPS."""

from __future__ import annotations

from collections.abc import Iterator
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from sscl import progress, seeds
from sscl.data.base import SPLITS, Dataset, Record
from sscl.data.codec import RefusedImageError, decode, resize, to_tensor
from sscl.errors import InputError
from sscl.perceptual import LPIPS

SIZE = 64  # pixels at which images are described
BATCH = 256  # images at a time
PASSES = 3  # over the training images


class Grouped(Dataset):
    """A dataset whose labels are groups of images that look alike; the labels that it came with play no part.

    Groups follow from the training images; test images join the nearest one.

    Args:
        source: of which images, names and order are kept.
        groups: how many.
        seed: of the run.

    Raises:
        InputError: fewer training images than groups.
    """

    def __init__(self, source: Dataset, groups: int, seed: int) -> None:
        self._source, self._groups, self._seed = source, groups, seed
        self.class_names = tuple(f"group-{number:03d}" for number in range(groups))
        self.format, self.layout = source.format, source.layout

    def count(self, split: str) -> int:
        return self._source.count(split)

    def records(self, split: str) -> Iterator[Record]:
        folders = self.format == "image_folder"  # where a class is a folder
        for record, group in zip(self._source.records(split), self.labels(split), strict=True):
            name = f"{self.class_names[group]}/{record.name}" if folders else record.name
            yield Record(name, record.data, group, record.problem)

    def labels(self, split: str) -> Iterator[int]:
        return iter(self._found[split].tolist())

    @cached_property
    def _found(self) -> dict[str, np.ndarray]:
        """int64 (N,) by split: each image's group; damaged images are in the first, and refused later."""
        from sklearn.cluster import KMeans

        described = {split: self._described(split) for split in SPLITS}
        if len(described["train"]) < self._groups:
            raise InputError(f"data.groups: {self._groups} groups of {len(described['train'])} images; use fewer")
        random = seeds.derive(self._seed, "prepare", "groups") % 2**31
        means = KMeans(self._groups, n_init=PASSES, random_state=random).fit(described["train"])
        return {split: means.predict(rows).astype(np.int64) for split, rows in described.items()}

    def _described(self, split: str) -> np.ndarray:
        """float32 (N, D)."""
        network, rows, batch = LPIPS(), list[np.ndarray](), list[Tensor]()
        total = self._source.count(split)
        if not total:
            raise InputError(f"{split}: no images to group; the dataset needs some in each of {' and '.join(SPLITS)}")
        with progress.step(f"describe {split}", total) as step:
            for number, record in enumerate(self._source.records(split), start=1):
                batch.append(_opened(record))
                if len(batch) == BATCH or number == total:
                    rows.append(describe(network, torch.stack(batch)))
                    batch.clear()
                step.advance()
        return np.concatenate(rows)


@torch.no_grad()
def describe(network: LPIPS, images: Tensor) -> np.ndarray:
    """Mean activations of AlexNet's last layer as unit vectors, float32 (N, 256), of floats (N, 3, H, W) in [0, 1]."""
    last = network.layers(images)[-1]
    found: np.ndarray = torch.nn.functional.normalize(last.mean(dim=(2, 3)), dim=1).numpy()
    return found


def _opened(record: Record) -> Tensor:
    """float (3, SIZE, SIZE); black for a damaged image."""
    try:
        pixels = resize(decode(record.data), SIZE)
    except RefusedImageError:
        return torch.zeros(3, SIZE, SIZE)
    return to_tensor(pixels, 3).float() / 255
