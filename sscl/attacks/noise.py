"""Noise on what a model is asked or answers, drawn for every query from its own pixels."""

from __future__ import annotations

from hashlib import sha256

import torch
from torch import Tensor


def drawn(x: Tensor, shape: tuple[int, ...], use: str) -> Tensor:
    """Standard normal numbers, float32 (N, *shape), on the device of ``x``.

    A query that is sent again gets the same noise, wherever it stands in a batch. Queries that differ in anything, such
    as an image and the same image under a mark, get independent noise, as from an API that draws afresh.

    Args:
        x: float queries (N, C, H, W).
        shape: of each query's numbers.
        use: names them.
    """
    found = torch.empty((len(x), *shape))
    for row, image in zip(found, x.detach().float().cpu().contiguous(), strict=True):
        digest = sha256(use.encode() + image.numpy().tobytes()).digest()
        row.copy_(torch.randn(shape, generator=torch.Generator().manual_seed(int.from_bytes(digest[:7], "big"))))
    return found.to(x.device)
