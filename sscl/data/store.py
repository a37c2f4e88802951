"""Datasets as the pipeline keeps them: a folder in one of the formats, with ``dataset.json`` beside the images."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sscl.artifacts import read_json, write_json
from sscl.data.base import Dataset, Writer
from sscl.data.codec import RefusedImageError, decode
from sscl.data.formats import FORMATS
from sscl.errors import InputError
from sscl.types import ImageSet

CARD = "dataset.json"


@dataclass(frozen=True)
class Card:
    """What ``dataset.json`` says of a dataset.

    Attributes:
        name: source and content digest, e.g. ``mnist-1f6c0a2b9d3e``.
        format: registered format of the files.
        class_names: one name per class.
        channels, size: of every decoded image.
        counts: images by split.
        layout: what the format needs to keep names.
    """

    name: str
    format: str
    class_names: tuple[str, ...]
    channels: int
    size: int
    counts: dict[str, int]
    layout: dict[str, str]

    @classmethod
    def read(cls, folder: Path) -> Card:
        """Raises ``InputError`` if the folder holds no dataset of ours."""
        raw: dict[str, Any] = read_json(folder / CARD)
        try:
            return cls(**{**raw, "class_names": tuple(raw["class_names"])})
        except (TypeError, KeyError):
            raise InputError(f"{folder / CARD}: not a dataset card of sscl; run `sscl stage prepare` again") from None

    def write(self, folder: Path) -> None:
        write_json(folder / CARD, asdict(self))


def open_dataset(folder: Path) -> tuple[Card, Dataset]:
    """The card and the images of a dataset that ``prepare`` or ``embed`` wrote."""
    card = Card.read(folder)
    return card, FORMATS[card.format].read(folder)


def first_file(folder: Path) -> bytes:
    """The first training image as it is stored: shows how the others are encoded."""
    _, dataset = open_dataset(folder)
    return next(iter(dataset.part("train", 0, 1))).data


@contextmanager
def writing(folder: Path, format: str, class_names: tuple[str, ...], layout: dict[str, str]) -> Iterator[Writer]:
    """A writer into ``folder`` (made if missing) whose files are complete when the context ends."""
    folder.mkdir(parents=True, exist_ok=True)
    with FORMATS[format].write(folder, class_names, layout) as writer:
        yield writer


def load_split(folder: Path, split: str) -> ImageSet:
    """Decode one split into memory, uint8 (N, C, H, W).

    Raises:
        InputError: an image is damaged or of another size than the card says, or images are missing.
    """
    card, dataset = open_dataset(folder)
    count = card.counts[split]
    pixels = np.empty((count, card.channels, card.size, card.size), dtype=np.uint8)
    labels = np.empty(count, dtype=np.int64)
    read = 0
    for number, record in enumerate(dataset.records(split)):
        try:
            image = decode(record.data)
            if image.shape[:2] != (card.size, card.size) or (image.ndim == 3 and card.channels == 1):
                raise RefusedImageError(f"{'x'.join(map(str, image.shape))}, the dataset has {card.size} px")
            pixels[number] = image.transpose(2, 0, 1) if image.ndim == 3 else image  # grey is repeated where it must be
        except (RefusedImageError, IndexError) as error:
            raise InputError(f"{folder}/{split}: {record.name}: {error}; run `sscl stage prepare` again") from None
        labels[number] = record.label
        read += 1
    if read < count:
        raise InputError(f"{folder}/{split}: {read} images, its card says {count}; run `sscl stage prepare` again")
    return ImageSet(torch.from_numpy(pixels), torch.from_numpy(labels), card.class_names)
