"""A watermarked dataset as the files of a release: parquet shards, dataset card, Croissant, checksums, commitment."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from sscl import progress
from sscl.artifacts import write_atomically
from sscl.audit.timestamp import reply_to
from sscl.config import PackageConfig
from sscl.data.base import SPLITS
from sscl.data.store import Card, open_dataset
from sscl.layout import COMMITMENT, TIMESTAMP_REPLY
from sscl.package.croissant import croissant, licence_address
from sscl.package.files import COMMITMENTS, DATA, File, file_of, in_order
from sscl.package.shards import shards_of, write_shard

CARD, CROISSANT, LICENCE = "README.md", "croissant.json", "LICENSE"
CHECKSUMS = "SHA256SUMS"


def pack(dataset: Path, commitment: Path, about: PackageConfig, out: Path) -> list[File]:
    """Write the files to ``out``; the same input gives the same bytes, one row group in memory at a time.

    Args:
        dataset: the watermarked dataset, as stage ``embed`` wrote it.
        commitment: public part of the commitment; its time stamp is packed too, if there is one.
        about: how the release is called and described.
        out: made here.

    Returns:
        Every file, checksums included, sorted by path.
    """
    card, source = open_dataset(dataset)
    shards, files = shards_of(card.counts, about.shard_images), []
    with progress.step("package", len(shards), "shards") as step:
        for shard in shards:
            records = source.part(shard.split, shard.start, shard.stop)
            files.append(write_shard(shard, records, card, out, labels=about.labels))
            step.advance()
    return describe(out, card, about, commitment=commitment, shards=files)


def describe(out: Path, card: Card, about: PackageConfig, *, commitment: Path, shards: list[File]) -> list[File]:
    """Write what is beside the shards; every file of the release, sorted. Large shards are not read again."""
    shutil.copytree(commitment, out / COMMITMENTS, dirs_exist_ok=True)
    if stamp := reply_to(commitment / COMMITMENT):
        shutil.copy(stamp, out / COMMITMENTS / TIMESTAMP_REPLY)
    write_atomically(out / CARD, dataset_card(card, about).encode())
    write_atomically(out / LICENCE, licence(about).encode())
    described = json.dumps(croissant(about, shards), indent=2)
    write_atomically(out / CROISSANT, f"{described}\n".encode())
    beside = [out / name for name in (CARD, LICENCE, CROISSANT)]
    beside += [path for path in (out / COMMITMENTS).rglob("*") if path.is_file()]
    files = in_order([*shards, *(file_of(out, path) for path in beside)])
    write_atomically(out / CHECKSUMS, "".join(f"{file.sha256}  {file.path}\n" for file in files).encode())
    return in_order([*files, file_of(out, out / CHECKSUMS)])


def licence(about: PackageConfig) -> str:
    """The owner's text, or where the text of an SPDX identifier is, or whom to ask."""
    if about.licence_text:
        return f"{about.licence_text.rstrip()}\n"
    address = licence_address(about.licence)
    text = f"Its text: {address}" if address else f"Ask {about.creator}, {about.url}"
    return f"{about.title}\nSPDX-License-Identifier: {about.licence}\n{text}\n"


def dataset_card(card: Card, about: PackageConfig) -> str:
    """README.md in the form that Hugging Face's hub reads."""
    counts = "\n".join(f"| {split} | {card.counts[split]:,} |" for split in SPLITS)
    task = "image-classification" if about.labels else "image-feature-extraction"
    classes = (
        f", {len(card.class_names)} classes: {', '.join(card.class_names)}" if about.labels else ", without labels"
    )
    columns = "Columns: `image` (an uncompressed PNG and the original name) and `label` (class index)."
    if not about.labels:
        columns = "One column: `image` (an uncompressed PNG and its number)."
    return f"""---
license: {about.licence}
task_categories: [{task}]
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

{card.channels} x {card.size} x {card.size} pixels{classes}.
{columns}

This dataset carries an ownership watermark: a small share of the training images is changed slightly. Models trained on
it can be recognised by queries. What the owner committed to before the release is in `{COMMITMENTS}/`.

Check the files: `sha256sum -c {CHECKSUMS}`. Licence: {about.licence}, see `{LICENCE}`. Creator: {about.creator}.
"""
