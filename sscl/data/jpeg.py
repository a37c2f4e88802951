"""Images through the JPEG encoder and back."""

from __future__ import annotations

import torch
from torch import Tensor

from sscl.data.codec import decode, encode_jpeg, to_pixels, to_tensor


def encoded(images: Tensor, quality: int) -> Tensor:
    """uint8 (N, C, H, W) as a JPEG file of that quality would show it."""
    channels = images.shape[1]
    return torch.stack([to_tensor(decode(encode_jpeg(to_pixels(image), quality)), channels) for image in images])
