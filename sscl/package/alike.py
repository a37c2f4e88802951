"""Marked and unmarked files made alike: one codec, no metadata, one length.

What a reader sees without looking at pixels (length, codec, colour type, tables, segments) must not tell which images
are marked. Stage ``embed`` re-encodes those alone, and the length of a JPEG or of a compressed PNG follows its content,
padded or not: the true length stands in the file. So every image is an uncompressed PNG, and the shard compresses.
"""

from __future__ import annotations

import io

import numpy as np
from PIL import Image

from sscl.data.codec import RefusedImageError, decode


def plain(data: bytes, channels: int, size: int) -> bytes:
    """The image as an uncompressed PNG with that many channels; its length depends on its height and width alone.

    Raises:
        RefusedImageError: damaged, in colour among grey ones, or not ``size`` pixels high and wide.
    """
    pixels = decode(data)
    if pixels.shape[:2] != (size, size):
        raise RefusedImageError(f"{pixels.shape[1]}x{pixels.shape[0]} px, expected {size}x{size}")
    if channels == 1 and pixels.ndim == 3:
        raise RefusedImageError("in colour, expected greyscale as the others are")
    if channels == 3 and pixels.ndim == 2:  # a marked image of an RGB set is RGB, so all are
        pixels = np.repeat(pixels[:, :, None], 3, axis=2)
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()
