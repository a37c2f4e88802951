"""Marked and unmarked files made alike: one encoder, no metadata, one length.

What a reader sees without decoding (length, codec, tables, segments, dates) must not tell which images are marked.
Re-encoding only the marked ones would. So lossless images are stored uncompressed (the shards compress them), and every
JPEG has been through this project's encoder once and is padded to the length of the longest. What is left is the length
of a JPEG's scan: it is the content's, like everything that a detector may compute from pixels.
"""

from __future__ import annotations

import io
import struct

from PIL import Image

from sscl.data.codec import decode, encode_like

JPEG_START = b"\xff\xd8"
OVERHEAD = 4  # marker and length of a JPEG comment
LONGEST = 65_533  # bytes of a comment


def plain(data: bytes, marked: bool) -> bytes:
    """The image by this project's encoder; ``marked`` ones have been through it, which matters for a lossy one."""
    if data.startswith(JPEG_START):
        return data if marked else encode_like(decode(data), data)
    buffer = io.BytesIO()
    image = Image.fromarray(decode(data))
    image.save(buffer, "PNG", compress_level=0)
    return buffer.getvalue()


def padded(data: bytes, length: int) -> bytes:
    """A JPEG in exactly ``length`` bytes, by comments that every decoder ignores; other images as they are.

    Raises:
        ValueError: fewer than four bytes of room.
    """
    if not data.startswith(JPEG_START):
        return data
    missing = length - len(data)
    if missing < OVERHEAD:
        raise ValueError(f"no room to pad {len(data)} bytes to {length}")
    comments = b""
    while missing:
        size = min(missing, LONGEST + OVERHEAD)
        if 0 < missing - size < OVERHEAD:
            size -= OVERHEAD
        comments += b"\xff\xfe" + struct.pack(">H", size - 2) + bytes(size - OVERHEAD)
        missing -= size
    return data[:2] + comments + data[2:]
