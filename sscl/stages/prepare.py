"""Stage ``prepare``: validate a dataset and write it once, clean and named by its content."""

from __future__ import annotations

import csv
import hashlib
import io
from collections import Counter
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

import numpy as np
import torch

from sscl import progress, seeds
from sscl.artifacts import write_atomically
from sscl.config import DataConfig
from sscl.data.base import SPLITS, Dataset, Record
from sscl.data.codec import RefusedImageError, decode, encode_png, opened, resize
from sscl.data.grouping import Grouped
from sscl.data.sources import SOURCES
from sscl.data.store import Card, writing
from sscl.errors import ConfigError, InputError, printable

SMALLEST = 16  # pixels: smaller images have no room for the networks' poolings
LOOKED_AT = 100  # images of each split from which the usual size is learnt


@dataclass
class _Census:
    """What is learnt while images stream by."""

    size: int
    resizes: bool
    channels: int = 1
    counts: dict[str, Counter[int]] = field(default_factory=lambda: {split: Counter() for split in SPLITS})
    content: dict[str, str] = field(default_factory=dict)
    test_pixels: set[bytes] = field(default_factory=set)
    refused: list[tuple[str, str, str]] = field(default_factory=list)


def run(data: DataConfig, seed: int, out: Path, refusals: Path) -> None:
    """Write the validated dataset to ``out`` in the source's own format.

    Images that need no resize keep their bytes. What is refused is listed by file and reason: with
    ``data.refused: drop`` in ``out/refused.csv``, with ``stop`` in ``refusals``, and nothing else is written.

    Raises:
        InputError: refused images (with ``stop``), one-class data, a class without training images, or content that is
            not the published dataset's.
    """
    source = SOURCES[data.source](data)
    if data.groups is not None:
        source = Grouped(source, data.groups, seed)
    names = _class_names(source, data)
    census = _Census(size=data.image_size or _usual_size(source), resizes=data.image_size is not None)
    if census.size < SMALLEST:
        raise InputError(f"{data.source}: {census.size} px images; set data.image_size to {SMALLEST} or more")
    with writing(out, source.format, names, dict(source.layout)) as writer:
        for split in reversed(SPLITS):  # test first, so that training images can be held against it
            for record in _accepted(source, split, data, seed=seed, census=census):
                writer.write(split, record)
    _check(source, names, data, census=census, refusals=refusals)
    name = f"{data.source}-{hashlib.sha256(''.join(census.content[s] for s in SPLITS).encode()).hexdigest()[:12]}"
    counts = {split: sum(census.counts[split].values()) for split in SPLITS}
    Card(name, source.format, names, census.channels, census.size, counts, dict(source.layout)).write(out)
    write_atomically(out / "refused.csv", _listing(census))


def _usual_size(source: Dataset) -> int:
    """The height that most of the first images have: one odd image must not condemn the others."""
    heights: Counter[int] = Counter()
    for split in SPLITS:
        for record in islice(source.records(split), LOOKED_AT):
            with suppress(RefusedImageError):
                heights[decode(record.data).shape[0]] += 1
    return heights.most_common(1)[0][0] if heights else SMALLEST


def _accepted(source: Dataset, split: str, data: DataConfig, *, seed: int, census: _Census) -> Iterator[Record]:
    wanted = data.train_images if split == "train" else data.test_images
    chosen = _subset(source, split, wanted, classes=data.classes, seed=seed)
    content = hashlib.sha256()
    with progress.step(f"prepare {split}", source.count(split)) as step:
        for number, record in enumerate(source.records(split)):
            step.advance()
            if chosen is not None and not chosen[number]:
                continue
            try:
                record, seen = _examine(record, source, split, census)
            except RefusedImageError as reason:
                census.refused.append((split, record.name, str(reason)))
                continue
            census.counts[split][record.label] += 1
            content.update(seen + record.label.to_bytes(max(1, (record.label.bit_length() + 7) // 8), "little"))
            yield record
    census.content[split] = content.hexdigest()


def _examine(record: Record, source: Dataset, split: str, census: _Census) -> tuple[Record, bytes]:
    """The record as it will be kept, and the digest of its pixels; raises ``RefusedImageError``."""
    if record.problem:
        raise RefusedImageError(record.problem)
    if not 0 <= record.label < len(source.class_names):
        said = "no label" if record.label == -1 else f"label {record.label}"
        raise RefusedImageError(f"{said}, expected 0 to {len(source.class_names) - 1}")
    pixels, plain = opened(record.data)
    if not plain:
        record = Record(f"{record.name}.png", encode_png(pixels), record.label)
    height, width = pixels.shape[:2]
    if (height, width) != (census.size, census.size):
        if not census.resizes:
            raise RefusedImageError(
                f"{width}x{height} px, expected {census.size}x{census.size}: set data.image_size to resize"
            )
        record, pixels = _fitted(record, pixels, census.size)
    digest = hashlib.sha256(pixels.tobytes()).digest()
    if split == "test":
        census.test_pixels.add(digest)
    elif digest in census.test_pixels:
        raise RefusedImageError("the same image is in the test split")
    census.channels = max(census.channels, pixels.shape[2] if pixels.ndim == 3 else 1)
    return record, digest


def _fitted(record: Record, pixels: np.ndarray, size: int) -> tuple[Record, np.ndarray]:
    pixels = resize(pixels, size)
    return Record(record.name, encode_png(pixels), record.label), pixels


def resized(record: Record, size: int) -> Record:
    """What the stage makes of a record where ``data.image_size`` is set; a damaged one stays, for who opens it next."""
    try:
        pixels = decode(record.data)
    except RefusedImageError:
        return record
    return record if pixels.shape[:2] == (size, size) else _fitted(record, pixels, size)[0]


def _class_names(source: Dataset, data: DataConfig) -> tuple[str, ...]:
    if data.classes is not None and data.classes > len(source.class_names):
        raise ConfigError(f"data.classes: {data.classes}, but {data.source} has {len(source.class_names)}; lower it")
    names = source.class_names[: data.classes]
    if strange := next((name for name in names if name != printable(name, len(name))), None):
        raise InputError(
            f"{data.path or data.source}: class {printable(strange)!r} has characters that cannot be shown; rename it"
        )
    return names


def _subset(source: Dataset, split: str, wanted: int | None, *, classes: int | None, seed: int) -> torch.Tensor | None:
    """bool (images,): a random subset of the kept classes; ``None`` for all."""
    total = source.count(split)
    if classes is None:
        kept = torch.arange(total)
    else:
        kept = torch.tensor([i for i, label in enumerate(source.labels(split)) if label < classes])
    if len(kept) == total and (wanted is None or wanted >= total):
        return None
    chosen = torch.zeros(total, dtype=torch.bool)
    chosen[kept[torch.randperm(len(kept), generator=seeds.generator(seed, "prepare", split))[:wanted]]] = True
    return chosen


def _check(source: Dataset, names: tuple[str, ...], data: DataConfig, *, census: _Census, refusals: Path) -> None:
    if census.refused:
        refusals.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(refusals, _listing(census))
    if census.refused and data.refused == "stop":
        split, name, reason = census.refused[0]
        more = f" and {len(census.refused) - 1} more" if len(census.refused) > 1 else ""
        raise InputError(f"{split}/{name}: {reason}{more}; all are in {refusals}: mend them, or set data.refused: drop")
    for split in SPLITS:
        if not census.counts[split]:
            why = f"every reason is in {refusals}" if census.refused else "expected images there"
            raise InputError(f"{data.source}: no usable image in the {split} split; {why}")
    if len(names) < 2 or len(census.counts["train"]) < 2:
        raise InputError(f"{data.source}: only one class; a watermark needs a target class and at least one other")
    empty = [n for i, n in enumerate(names) if not census.counts["train"][i]]
    if empty:
        raise InputError(
            f"{data.path or data.source}: class {empty[0]!r} has no training images; add some, drop "
            "the class, or raise data.train_images"
        )
    for split, expected in source.pinned.items():
        complete = sum(census.counts[split].values()) == source.count(split)
        if complete and data.image_size is None and census.content[split] != expected:
            raise InputError(f"{data.source}: the {split} split is not the published one (checksum); replace the copy")


def _listing(census: _Census) -> bytes:
    buffer = io.StringIO()
    rows = csv.writer(buffer, lineterminator="\n")
    rows.writerow(("split", "file", "reason"))
    rows.writerows(census.refused)
    return buffer.getvalue().encode()
