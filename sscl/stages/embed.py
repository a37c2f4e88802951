"""Stage ``embed``: mark a share of a dataset as a stream; memory does not grow with the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sscl import progress, seeds
from sscl.artifacts import digest, save_tensors, write_json
from sscl.compute import Compute
from sscl.config import ComputeConfig, EmbedConfig
from sscl.data.base import SPLITS, Record
from sscl.data.codec import RefusedImageError, decode, encode_like, to_pixels, to_tensor
from sscl.data.store import Card, open_dataset, writing
from sscl.errors import InputError
from sscl.stages.names import INDICES, SECRET
from sscl.watermarks.base import AnyWatermark, State
from sscl.watermarks.io import GENERATOR, load_watermark

BATCH = 256  # marked images in memory at a time; fixed, so that results do not depend on anything else


def run(
    embed: EmbedConfig,
    compute: ComputeConfig,
    seed: int,
    key_file: str | None,
    data: Path,
    generator: Path,
    public: Path,
    private: Path,
    variant: str,
) -> None:
    """Write the released dataset to ``public`` and what only the owner may know to ``private``.

    ``public`` has the clean dataset's format, names and order; images that were not selected are byte-identical.
    ``private`` has the generator, the marked indices (positions in the training split), the target and the config.

    Raises:
        ConfigError: the target class cannot supply the rate.
    """
    seed = seeds.with_secret(seed, key_file)
    card, dataset = open_dataset(data)
    watermark, state = load_watermark(generator / GENERATOR, len(card.class_names), Compute.resolve(compute))
    labels = torch.from_numpy(np.fromiter(dataset.labels("train"), np.int64, card.counts["train"]))
    indices = watermark.select(labels, embed, seeds.generator(seed, "embed", variant))
    rng = seeds.generator(seed, "mark", variant)
    with writing(public, card.format, card.class_names, card.layout) as writer:
        for split in SPLITS:
            records = dataset.records(split)
            if split == "train":
                records = marked_records(records, set(indices.tolist()), watermark, state, card, rng)
            with progress.step(f"embed {variant} {split}", card.counts[split]) as step:
                for record in records:
                    writer.write(split, record)
                    step.advance()
    released = digest(public)
    replace(card, name=f"{card.name.rpartition('-')[0]}-{released[:12]}").write(public)
    private.mkdir(parents=True)
    (private / GENERATOR).write_bytes((generator / GENERATOR).read_bytes())
    save_tensors(private / INDICES, {"indices": indices}, {"split": "train"})
    write_secret(private, watermark, embed, len(indices), card.name, released)


def write_secret(
    private: Path, watermark: AnyWatermark, embed: EmbedConfig, marked: int, clean: str, released: str
) -> None:
    """What the owner must know beside the generator and the indices: ``secret.json``."""
    secret = {"target_class": watermark.target_class, "embed": asdict(embed), "marked": marked}
    write_json(private / SECRET, {**secret, "clean": clean, "released": released, "clean_label": watermark.clean_label})


def marked_records(
    records: Iterator[Record], chosen: set[int], watermark: AnyWatermark, state: State, card: Card, rng: torch.Generator
) -> Iterator[Record]:
    """The records in order, the chosen ones marked in batches of at most ``BATCH``."""
    held: list[tuple[bool, Record]] = []
    waiting = 0
    for number, record in enumerate(records):
        held.append((number in chosen, record))
        waiting += held[-1][0]
        if waiting == BATCH or len(held) >= 16 * BATCH:
            yield from _mark_held(held, watermark, state, card, rng)
            held, waiting = [], 0
    yield from _mark_held(held, watermark, state, card, rng)


def _mark_held(
    held: list[tuple[bool, Record]], watermark: AnyWatermark, state: State, card: Card, rng: torch.Generator
) -> Iterator[Record]:
    selected = [record for is_chosen, record in held if is_chosen]
    if not selected:
        yield from (record for _, record in held)
        return
    images = torch.stack([_tensor(record, card) for record in selected])
    labels = torch.tensor([record.label for record in selected])
    marked, new_labels = watermark.apply(images, labels, state, rng)
    fresh = iter(zip(marked, new_labels.tolist(), strict=True))
    for is_chosen, record in held:
        if is_chosen:
            image, label = next(fresh)
            record = Record(record.name, encode_like(to_pixels(image), record.data), label)
        yield record


def _tensor(record: Record, card: Card) -> Tensor:
    """The image, uint8 (C, H, W); datasets that were not prepared may hold others than the card says."""
    try:
        image = to_tensor(decode(record.data), card.channels)
    except RefusedImageError as error:
        raise InputError(f"{record.name}: {error}; mend or remove the image") from None
    channels, height, width = image.shape
    if (channels, height, width) != (card.channels, card.size, card.size):
        found, expected = f"{channels}x{width}x{height}", f"{card.channels}x{card.size}x{card.size}"
        raise InputError(f"{record.name}: {found} (channels, px), expected {expected}; mend or remove the image")
    return image
