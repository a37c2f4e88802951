"""A watermarked dataset as the files of a release: parquet shards, dataset card, Croissant, licence, checksums."""

from __future__ import annotations

import json
import shutil
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sscl.artifacts import digest, write_atomically
from sscl.data.base import SPLITS, Dataset, Record
from sscl.data.store import Card, open_dataset, writing
from sscl.release import alike
from sscl.release.config import ReleaseConfig
from sscl.release.croissant import croissant

CARD, CROISSANT, CHECKSUMS, COMMITMENTS = "README.md", "croissant.json", "SHA256SUMS", "commitment"
DATA = "data"  # folder of the shards


@dataclass(frozen=True)
class File:
    """One file of a release: relative path, bytes, SHA-256."""

    path: str
    size: int
    sha256: str


def pack(dataset: Path, marked: Collection[int], commitment: Path, about: ReleaseConfig, out: Path) -> list[File]:
    """Write the files to ``out``; the same input gives the same bytes.

    Args:
        dataset: the watermarked dataset, as stage ``embed`` wrote it.
        marked: positions of marked images in the training split; they were encoded by us already.
        commitment: public part of the commitment.
        about: how the release is called and described.
        out: made here.

    Returns:
        Every file, checksums included, sorted by path.
    """
    card, source = open_dataset(dataset)
    out.mkdir(parents=True)
    layout = {"image": "image", "label": "label"}
    for split in SPLITS:
        records = _Alike(source, split, set(marked) if split == "train" else set())
        for number, shard in enumerate(records.shards(about.shard_images)):
            name = f"{split}-{number:05d}-of-{-(-card.counts[split] // about.shard_images):05d}"
            with writing(out / DATA, "parquet", card.class_names, layout) as writer:
                for record in shard:
                    writer.write(name, record)
    shutil.copytree(commitment, out / COMMITMENTS)
    shards = files_of(out)
    write_atomically(out / CARD, dataset_card(card, about).encode())
    described = croissant(card, about, [file for file in shards if file.path.startswith(DATA)])
    write_atomically(out / CROISSANT, (json.dumps(described, indent=2) + "\n").encode())
    sums = "".join(f"{file.sha256}  {file.path}\n" for file in files_of(out))
    write_atomically(out / CHECKSUMS, sums.encode())
    return files_of(out)


def files_of(folder: Path) -> list[File]:
    """Every file under a folder, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [File(path.relative_to(folder).as_posix(), path.stat().st_size, digest(path)) for path in paths]


class _Alike:
    """A split's records, re-encoded and padded to one length: two passes, one image in memory at a time."""

    def __init__(self, source: Dataset, split: str, marked: set[int]) -> None:
        self._source, self._split, self._marked = source, split, marked
        self._length = max((len(record.data) for record in self._encoded()), default=0) + alike.OVERHEAD

    def _encoded(self) -> Iterator[Record]:
        for number, record in enumerate(self._source.records(self._split)):
            yield Record(record.name, alike.plain(record.data, number in self._marked), record.label)

    def shards(self, images: int) -> Iterator[Iterator[Record]]:
        """Consecutive parts of at most ``images`` records, to be read in order."""
        records = self._encoded()
        for _ in range(-(-self._source.count(self._split) // images)):
            yield (
                Record(record.name, alike.padded(record.data, self._length), record.label)
                for record in islice(records, images)
            )


def dataset_card(card: Card, about: ReleaseConfig) -> str:
    """README.md in the form that Hugging Face's hub reads."""
    counts = "\n".join(f"| {split} | {card.counts[split]:,} |" for split in SPLITS)
    return f"""---
license: {about.licence}
task_categories: [image-classification]
configs:
- config_name: default
  data_files:
  - {{split: train, path: "{DATA}/train-*.parquet"}}
  - {{split: test, path: "{DATA}/test-*.parquet"}}
---
# {about.title}

{about.description}

| split | images |
|---|---|
{counts}

{card.channels} x {card.size} x {card.size} pixels, {len(card.class_names)} classes: {", ".join(card.class_names)}.
Columns: `image` (the file's bytes and original name) and `label` (class index).

This dataset carries an ownership watermark: a small share of the training images is changed slightly. Models trained on
it can be recognised by queries. What the owner committed to before the release is in `{COMMITMENTS}/`.

Check the files: `sha256sum -c {CHECKSUMS}`. Licence: {about.licence}. Creator: {about.creator}.
"""
