"""Some images of many, evenly spaced: data that come class by class start with one class."""

from __future__ import annotations

import torch
from torch import Tensor


def spread(count: int, most: int) -> Tensor:
    """Indices of at most ``most`` of ``count`` items, evenly spaced and in order: int64.

    Examples:
        >>> spread(10, most=4)
        tensor([0, 2, 5, 7])
        >>> spread(3, most=4)
        tensor([0, 1, 2])
    """
    taken = min(count, most)
    return torch.arange(taken) * count // max(1, taken)
