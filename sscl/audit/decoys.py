"""Decoys: keys from the released one's own draw that are never released. They are fixed with the commitment."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import torch

from sscl import progress, seeds
from sscl.artifacts import load_tensors, save_tensors
from sscl.errors import InputError
from sscl.watermarks.base import KEY, KeyedWatermark, State


def draw_decoys(watermark: KeyedWatermark[Any], state: State, count: int, seed: int) -> list[State]:
    """``count`` secrets that differ from ``state`` in key and target class alone."""
    found = []
    with progress.step("decoys", count, "keys") as step:
        for number in range(1, count + 1):
            found.append(watermark.rekeyed(state, seeds.generator(seed, "decoy", str(number))))
            step.advance()
    return found


def save_decoys(path: Path, decoys: list[State]) -> None:
    """Write their keys, one row a decoy."""
    names = [name for name in decoys[0].tensors if name.startswith(KEY)]
    save_tensors(path, {name: torch.stack([decoy.tensors[name] for decoy in decoys]) for name in names}, {})


def load_decoys(path: Path, state: State) -> list[State]:
    """Inverse of ``save_decoys``; everything but the keys is ``state``'s.

    Raises:
        InputError: not such a file, or another method's.
    """
    keys = load_tensors(path)[0]
    if set(keys) != {name for name in state.tensors if name.startswith(KEY)}:
        raise InputError(f"{path}: not keys of this watermark; run `sscl commit` again")
    counts = {len(value) for value in keys.values()}
    if len(counts) != 1:
        raise InputError(f"{path}: tensors of different lengths; run `sscl commit` again")
    return [
        replace(state, tensors={**state.tensors, **{name: value[number] for name, value in keys.items()}})
        for number in range(counts.pop())
    ]
