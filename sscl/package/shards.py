"""A dataset in parts of a fixed number of images: each is made from its own rows alone, by whichever worker."""

from __future__ import annotations

import os
import secrets
import shutil
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from sscl.artifacts import digest, disk_error
from sscl.data.base import SPLITS, Record
from sscl.data.codec import RefusedImageError
from sscl.data.store import Card, writing
from sscl.errors import InputError
from sscl.package import alike
from sscl.package.files import DATA, File

IMAGE, LABEL = {"image": "image"}, {"label": "label"}  # columns


@dataclass(frozen=True)
class Shard:
    """Images ``start`` to ``stop`` (exclusive) of a split; the ``number``-th of ``of`` shards."""

    split: str
    number: int
    of: int
    start: int
    stop: int

    @property
    def stem(self) -> str:
        """The file's name without its suffix, as Hugging Face's hub names shards."""
        return f"{self.split}-{self.number:05d}-of-{self.of:05d}"


def shards_of(counts: Mapping[str, int], images: int) -> list[Shard]:
    """Every shard of a dataset with ``counts`` images by split, training split first."""
    found = []
    for split in SPLITS:
        of = -(-counts[split] // images)
        found += [Shard(split, n, of, n * images, min((n + 1) * images, counts[split])) for n in range(of)]
    return found


def write_shard(shard: Shard, records: Iterable[Record], card: Card, out: Path, *, labels: bool = True) -> File:
    """Write a shard to ``out/data``, whole or not at all; the same records give the same bytes.

    Args:
        shard: which one.
        records: its images, in order.
        card: of the dataset; says how many channels and pixels every image has.
        out: folder of the release.
        labels: whether they are published; if not, images are numbered, as their names may tell the class.

    Raises:
        InputError: an image is damaged or of another size; the message names it.
        SSCLError: the disk is full, or not writable.
    """
    path = f"{DATA}/{shard.stem}.parquet"
    building = out / DATA / f".{shard.stem}.tmp-{os.getpid()}-{secrets.token_hex(4)}"
    try:
        with writing(building, "parquet", card.class_names, IMAGE | (LABEL if labels else {})) as writer:
            for number, record in enumerate(records, start=shard.start):
                try:
                    data = alike.plain(record.data, card.channels, card.size)
                except RefusedImageError as error:
                    raise InputError(f"{shard.split}/{record.name}: {error}; mend or remove the image") from None
                name = record.name if labels else f"{shard.split}-{number:08d}.png"
                writer.write(shard.stem, Record(name, data, record.label))
        written = building / f"{shard.stem}.parquet"
        made = File(path, written.stat().st_size, digest(written))
        with open(written, "rb") as file:
            os.fsync(file.fileno())
        os.replace(written, out / path)
    except OSError as error:
        raise disk_error(out / path, error) from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
    return made
