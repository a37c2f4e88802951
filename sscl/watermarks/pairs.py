"""Which images the published test asks about, and toward which class."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl import seeds
from sscl.types import ImageSet


def verification_pairs(
    data: ImageSet, targets: Tensor, wanted: int | None = None, seed: int = 0
) -> tuple[Tensor, Tensor]:
    """Images whose class is not that of the mark that ``trigger`` gives them, and the mark's class; int64 (M,) both."""
    pointed = targets[torch.arange(len(data)) % len(targets)]
    candidates = torch.nonzero(data.labels != pointed).flatten()
    order = torch.randperm(len(candidates), generator=seeds.generator(seed, "verify", "images"))
    chosen = candidates[order[: wanted or len(candidates)]].sort().values
    return chosen, pointed[chosen]
