"""Wavelet shrinkage (Donoho 1995) of training images: faint detail goes, edges stay."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.attacks.base import REMOVALS
from sscl.attacks.training_filters import FilterTraining

HAAR = ((1, 1, 1, 1), (1, 1, -1, -1), (1, -1, 1, -1), (1, -1, -1, 1))  # 2 by 2 filters: the mean, and three details
LEVELS = 2


def shrunk(x: Tensor, threshold: float, levels: int = LEVELS) -> Tensor:
    """Haar coefficients of detail moved toward 0 by ``threshold``, for floats (N, C, H, W) of any size."""
    height, width = x.shape[-2:]
    even = F.pad(x, (0, width % 2, 0, height % 2), mode="replicate")
    filters = torch.tensor(HAAR, dtype=x.dtype, device=x.device).view(4, 1, 2, 2) / 2
    channels = x.shape[1]
    parts = F.conv2d(even, filters.repeat(channels, 1, 1, 1), stride=2, groups=channels)
    parts = parts.view(len(x), channels, 4, *parts.shape[2:])
    means, details = parts[:, :, :1], parts[:, :, 1:]
    details = details.sign() * (details.abs() - threshold).clamp_min(0)
    if levels > 1:
        means = shrunk(means[:, :, 0], threshold, levels - 1)[:, :, None]
    parts = torch.cat((means, details), dim=2).flatten(1, 2)
    whole = F.conv_transpose2d(parts, filters.repeat(channels, 1, 1, 1), stride=2, groups=channels)
    return whole[..., :height, :width]


class WaveletTraining(FilterTraining):
    """Half of the training images shrunk."""

    unit, usual, grid = "threshold of pixel values in [0, 1]", 0.05, (0.02, 0.05, 0.1)

    def change(self, x: Tensor, strength: float, rng: torch.Generator) -> Tensor:
        return shrunk(x, strength)


REMOVALS.register("train_wavelet")(WaveletTraining())
