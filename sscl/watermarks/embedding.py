"""Mark a share of a stored dataset as a stream; memory does not grow with the dataset."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import asdict, replace
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sscl import progress
from sscl.artifacts import digest, save_tensors, write_json
from sscl.config import EmbedConfig
from sscl.data.base import SPLITS, Record
from sscl.data.codec import RefusedImageError, decode, encode_like, to_pixels, to_tensor
from sscl.data.store import Card, open_dataset, writing
from sscl.errors import InputError
from sscl.keystream import Keystream
from sscl.layout import INDICES, SECRET_FILE
from sscl.statistics import words
from sscl.watermarks.base import AnyWatermark, State
from sscl.watermarks.io import GENERATOR, save_watermark
from sscl.watermarks.ownership_code import OwnershipCode, with_word

BATCH = 256  # marked images in memory at a time, and fewer than PIXELS; fixed, so that results depend on no machine
PIXELS = BATCH * 224**2
HELD = 64 << 20  # bytes of files in memory at a time


def throw_away(watermark: OwnershipCode, state: State, card: Card, key: Keystream) -> State:
    """The secret under a word that nothing is committed to."""
    word = words.draw(watermark.options.marks, len(card.class_names), key)[0]
    return with_word(state, torch.from_numpy(word))


def embed_under(
    watermark: AnyWatermark,
    state: State,
    embed: EmbedConfig,
    *,
    key: Keystream,
    data: Path,
    public: Path,
    private: Path,
    label: str,
) -> None:
    """Mark the dataset in ``data`` under a complete secret; ``label`` names the release to whoever watches."""
    card, dataset = open_dataset(data)
    labels = torch.from_numpy(np.fromiter(dataset.labels("train"), np.int64, card.counts["train"]))
    indices = watermark.select(labels, embed, state, key.part("select"))
    rng = key.part("mark").torch()
    with writing(public, card.format, card.class_names, card.layout) as writer:
        for split in SPLITS:
            records = dataset.records(split)
            if split == "train":
                records = marked_records(records, set(indices.tolist()), watermark, state=state, card=card, rng=rng)
            with progress.step(f"embed {label} {split}", card.counts[split]) as step:
                for record in records:
                    writer.write(split, record)
                    step.advance()
    released = digest(public)
    replace(card, name=f"{card.name.rpartition('-')[0]}-{released[:12]}").write(public)
    private.mkdir(parents=True, exist_ok=True)
    save_watermark(private / GENERATOR, watermark, state)
    save_tensors(private / INDICES, {"indices": indices}, {"split": "train"})
    write_secret(private, watermark, state, embed=embed, marked=len(indices), clean=card.name, released=released)


def write_secret(
    private: Path, watermark: AnyWatermark, state: State, *, embed: EmbedConfig, marked: int, clean: str, released: str
) -> None:
    """What the owner must know beside the generator and the indices: ``secret.json``."""
    secret = {"targets": watermark.targets(state).tolist(), "embed": asdict(embed), "marked": marked}
    write_json(
        private / SECRET_FILE, {**secret, "clean": clean, "released": released, "clean_label": watermark.clean_label}
    )


def marked_records(
    records: Iterator[Record],
    chosen: set[int],
    watermark: AnyWatermark,
    *,
    state: State,
    card: Card,
    rng: torch.Generator,
) -> Iterator[Record]:
    """The records in order, the chosen ones marked in batches of at most ``BATCH``, and of fewer large images."""
    held: list[tuple[bool, Record]] = []
    waiting, size, most = 0, 0, max(1, min(BATCH, PIXELS // card.size**2))
    for number, record in enumerate(records):
        held.append((number in chosen, record))
        waiting += held[-1][0]
        size += len(record.data)
        if waiting == most or len(held) >= 16 * BATCH or size >= HELD:
            yield from _mark_held(held, watermark, state, card=card, rng=rng)
            held, waiting, size = [], 0, 0
    yield from _mark_held(held, watermark, state, card=card, rng=rng)


def _mark_held(
    held: list[tuple[bool, Record]], watermark: AnyWatermark, state: State, *, card: Card, rng: torch.Generator
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
