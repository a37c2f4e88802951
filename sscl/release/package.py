"""A watermarked dataset as the files of a release: parquet shards, dataset card, Croissant, checksums, commitment."""

from __future__ import annotations

import json
import shutil
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

from sscl.artifacts import digest, write_atomically
from sscl.data.base import SPLITS, Record
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


def pack(dataset: Path, commitment: Path, about: ReleaseConfig, out: Path) -> list[File]:
    """Write the files to ``out``; the same input gives the same bytes, one row group in memory at a time.

    Args:
        dataset: the watermarked dataset, as stage ``embed`` wrote it.
        commitment: public part of the commitment.
        about: how the release is called and described.
        out: made here.

    Returns:
        Every file, checksums included, sorted by path.
    """
    card, source = open_dataset(dataset)
    out.mkdir(parents=True)
    for split in SPLITS:
        shards = -(-card.counts[split] // about.shard_images)
        records = source.records(split)
        for number in range(shards):
            layout = {"image": "image", "label": "label"}
            with writing(out / DATA, "parquet", card.class_names, layout) as writer:
                for record in islice(records, about.shard_images):
                    data = alike.plain(record.data, card.channels)
                    writer.write(f"{split}-{number:05d}-of-{shards:05d}", Record(record.name, data, record.label))
    shutil.copytree(commitment, out / COMMITMENTS)
    shard_files = [file for file in files_of(out) if file.path.startswith(f"{DATA}/")]
    write_atomically(out / CARD, dataset_card(card, about).encode())
    described = json.dumps(croissant(card, about, shard_files), indent=2)
    write_atomically(out / CROISSANT, f"{described}\n".encode())
    sums = "".join(f"{file.sha256}  {file.path}\n" for file in files_of(out))
    write_atomically(out / CHECKSUMS, sums.encode())
    return files_of(out)


def files_of(folder: Path) -> list[File]:
    """Every file under a folder, sorted."""
    paths = sorted(path for path in folder.rglob("*") if path.is_file())
    return [File(path.relative_to(folder).as_posix(), path.stat().st_size, digest(path)) for path in paths]


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
Columns: `image` (an uncompressed PNG and the original name) and `label` (class index).

This dataset carries an ownership watermark: a small share of the training images is changed slightly. Models trained on
it can be recognised by queries. What the owner committed to before the release is in `{COMMITMENTS}/`.

Check the files: `sha256sum -c {CHECKSUMS}`. Licence: {about.licence}. Creator: {about.creator}.
"""
