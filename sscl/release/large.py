"""Datasets larger than memory: marked, packed and digested shard by shard, by whichever worker.

The pipeline trains and is gated on a sample (``data.train_images``). The same secret then marks the whole dataset at
``data.path``. A worker needs nothing but the shared folder and a shard's number, and a shard's bytes depend on nothing
but the plan, so a shard that a killed worker left is made again, identically.
"""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sscl import seeds
from sscl.artifacts import PRIVATE, digest, key_of, load_tensors, read_json, save_tensors, write_json
from sscl.compute import Compute
from sscl.config import Config, DataConfig, dump
from sscl.data.base import SPLITS, Dataset
from sscl.data.listing import listing
from sscl.data.sources import SOURCES
from sscl.data.store import Card
from sscl.errors import InputError
from sscl.layout import COMMITTED, INDICES, OPENED, Root
from sscl.package.files import DATA, File
from sscl.package.pack import describe
from sscl.package.shards import Shard, shards_of, write_shard
from sscl.params import build, rebased
from sscl.permissions import close
from sscl.provenance import code_digest
from sscl.release.create import Candidate
from sscl.release.manifest import content_digest
from sscl.stages.prepare import resized
from sscl.watermarks.embedding import marked_records, write_secret
from sscl.watermarks.io import GENERATOR, load_watermark

PLAN = "plan.json"  # among the state of an output root
USE = "large"  # names its random numbers


@lru_cache(maxsize=1)
def _opened(config: DataConfig, plan: Path) -> Dataset:
    """A worker opens a plan's dataset once."""
    return whole(config)


@lru_cache(maxsize=1)
def _marked(plan: Path) -> Tensor:
    """Which images are marked, int64 (M,), sorted; a worker reads this once."""
    return load_tensors(Root(plan).watermark / INDICES)[0]["indices"].sort().values


def whole(config: DataConfig) -> Dataset:
    """The dataset of which the pipeline took a sample."""
    return SOURCES[config.source](replace(config, train_images=None, test_images=None))


def plan(root: Root, config: Config) -> tuple[Root, list[Shard]]:
    """Draw which images are marked; write what workers need to an output root under ``root.large``; shards in order.

    Another secret, dataset (names, sizes and dates of its files) or protocol is another folder: a worker that is left
    over from an earlier plan cannot touch this one. Memory: eight bytes an image, for its label. Relative paths of the
    configuration are relative to ``root``'s parent, the checkout.

    Raises:
        InputError: no finished pipeline under ``root``, its sample has other classes, a label is no class, or there are
            no labels.
        ConfigError: the target class cannot supply the rate.
    """
    if config.data.groups is not None:
        raise InputError("data.groups: a release by shards needs labels; give each image its group's number as one")
    config = rebased(config, root.path.parent)
    sample, source = Card.read(root.clean), whole(config.data)
    if source.class_names[: config.data.classes] != sample.class_names or config.data.classes:
        raise InputError(f"{root.clean}: other classes than the dataset; run the pipeline on all of them")
    counts = {split: source.count(split) for split in sample.counts}
    shards = shards_of(counts, config.package.shard_images)
    secret = root.watermark / GENERATOR
    inputs: dict[str, str | None] = {"secret": digest(secret), "commitment": digest(root.committed)}
    inputs |= {"sample": sample.name, "dataset": key_of(files=listing(config.data))}
    inputs |= {"key_file": seeds.secret_digest(config.key_file)}
    inputs |= {"stamp": digest(root.stamp) if root.stamp.is_file() else None}
    sections = {name: dump(config)[name] for name in ("seed", "key_file", "data", "embed", "package")}
    key = key_of(inputs=inputs, config=sections, counts=counts, code=code_digest(__name__))
    out = Root(root.large / key[:16])
    root.large.mkdir(parents=True, exist_ok=True)
    with open(root.large / f".{out.path.name}.lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)  # two flows may start at the same moment
        if not (out.state / PLAN).is_file():
            name = f"{config.package.name}-{key[:12]}"
            _write_plan(root, config, out, card=replace(sample, name=name, counts=counts), source=source)
    return out, shards


def _write_plan(root: Root, config: Config, out: Root, *, card: Card, source: Dataset) -> None:
    secret, classes = root.watermark / GENERATOR, len(card.class_names)
    shutil.rmtree(out.path, ignore_errors=True)
    labels, _ = (_labels(source, split, classes) for split in SPLITS)
    watermark, state = load_watermark(secret, classes, Compute.set_up(config.compute))
    indices = watermark.select(
        labels, config.embed, state, seeds.secret(config.seed, config.key_file).part("embed", USE)
    )
    (out.path / PRIVATE).mkdir(mode=0o700, parents=True)  # first, so that nothing in it can be read on the way
    out.watermark.mkdir(parents=True)
    for file in (secret, root.draw):
        shutil.copy(file, out.watermark)
    save_tensors(out.watermark / INDICES, {"indices": indices}, {"split": "train"})
    for folder in (COMMITTED, OPENED):
        shutil.copytree(root.path / folder, out.path / folder)
    if root.stamp.is_file():
        shutil.copy(root.stamp, out.stamp)
    for made in (out.packed / DATA, out.state / "shards"):
        made.mkdir(parents=True)
    _close(out)
    card.write(out.path)
    write_json(out.state / PLAN, dump(config))  # last: with it, the plan is whole


def _labels(source: Dataset, split: str, classes: int) -> Tensor:
    """int64 (images,); raises ``InputError`` for one that is no class."""
    labels = torch.from_numpy(np.fromiter(source.labels(split), np.int64, source.count(split)))
    wrong = torch.nonzero((labels < 0) | (labels >= classes)).flatten().tolist()
    if wrong:
        found = f"{split}: label {labels[wrong[0]]} of image {wrong[0]}, expected 0 to {classes - 1}"
        raise InputError(f"{found}; mend or remove {len(wrong)} images")
    return labels


def _close(out: Root) -> None:
    """Nobody else reads the secret, or the plan's notes."""
    close(out.path / PRIVATE)
    out.state.chmod(0o700)


def mark(out: Root, number: int) -> File:
    """Mark and write one shard of the plan in ``out``, unless it is there; safe to be done by two workers, or again.

    Raises:
        InputError: no plan, or an image that cannot be used.
    """
    config, card = build(read_json(out.state / PLAN)), Card.read(out.path)
    shard = shards_of(card.counts, config.package.shard_images)[number]
    note = out.state / "shards" / f"{shard.stem}.json"
    if note.is_file():
        made = File(**read_json(note))
        if (out.packed / made.path).is_file() and digest(out.packed / made.path) == made.sha256:
            return made
    records = _opened(config.data, out.path).part(shard.split, shard.start, shard.stop)
    if config.data.image_size:
        records = (resized(record, config.data.image_size) for record in records)
    if shard.split == "train":
        watermark, state = load_watermark(
            out.watermark / GENERATOR, len(card.class_names), Compute.set_up(config.compute)
        )
        indices = _marked(out.path)
        first, last = torch.searchsorted(indices, torch.tensor([shard.start, shard.stop])).tolist()
        chosen = indices[first:last] - shard.start
        rng = seeds.secret(config.seed, config.key_file).part("mark", USE, shard.stem).torch()
        records = marked_records(records, set(chosen.tolist()), watermark, state=state, card=card, rng=rng)
    made = write_shard(shard, records, card, out.packed, labels=config.package.labels)
    write_json(note, asdict(made))
    return made


def assemble(out: Root, shards: Sequence[File]) -> Candidate:
    """Complete the package from its shards' digests, which are not read again; removes what killed workers left.

    Raises:
        InputError: no plan.
    """
    config, card = build(read_json(out.state / PLAN)), Card.read(out.path)
    marked = len(load_tensors(out.watermark / INDICES)[0]["indices"])
    watermark, state = load_watermark(out.watermark / GENERATOR, len(card.class_names), Compute.set_up(config.compute))
    for left in (out.packed / DATA).glob(".*.tmp-*"):
        shutil.rmtree(left)
    content = content_digest(list(shards))
    write_secret(out.watermark, watermark, state, embed=config.embed, marked=marked, clean=card.name, released=content)
    _close(out)
    files = describe(out.packed, card, config.package, commitment=out.committed, shards=list(shards))
    return Candidate(out, config.package.name, files, content)
