"""Float marks to 8-bit images within their budget."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl.watermarks.base import budget

SHAPE_STEP = 64  # batches are padded to a multiple of this: every new shape costs a compiled kernel


def quantise(original: Tensor, marked: Tensor, eps: float) -> Tensor:
    """Float images in [0, 1] to uint8 within the bound of their uint8 originals: float marks do not survive saving."""
    change = (marked.clamp(0, 1) * 255).round().int() - original.int()
    limit = budget(eps)
    return (original.int() + change.clamp(-limit, limit)).to(torch.uint8)
