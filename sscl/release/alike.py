"""Marked and unmarked files made alike: one encoder, no metadata, one length.

What a reader sees without decoding (length, codec, tables, segments, dates) must not tell which images are marked.
Re-encoding only the marked ones would; so every image is re-encoded, and padded to the length of the longest.
"""

from __future__ import annotations

import io
import struct
import zlib

from PIL import Image

from sscl.data.codec import decode, encode_like
from sscl.errors import InputError

PNG_END = 12  # bytes of the chunk IEND
PNG_PAD = b"paDd"  # ancillary, private, safe to copy (PNG specification, 5.4)
PNG_OVERHEAD = 12  # length, type and checksum of a chunk
JPEG_OVERHEAD = 4  # marker and length of a comment
JPEG_LONGEST = 65_533  # bytes of a comment


def re_encoded(data: bytes) -> bytes:
    """The image by this project's encoder, as marked ones are: same codec and quantisation tables, no metadata."""
    return encode_like(decode(data), data)


def room(data: bytes) -> int:
    """The smallest length that ``padded`` may be asked for, whatever the others' codec."""
    return len(data) + PNG_OVERHEAD


def padded(data: bytes, length: int) -> bytes:
    """The same image in exactly ``length`` bytes, by a comment that every decoder ignores.

    Raises:
        InputError: a codec without comments, or no room.
    """
    missing = length - len(data)
    codec = Image.open(io.BytesIO(data)).format
    if missing < PNG_OVERHEAD:
        raise InputError(f"no room to pad {len(data)} bytes to {length}")
    if codec == "PNG":
        body = PNG_PAD + bytes(missing - PNG_OVERHEAD)
        chunk = struct.pack(">I", len(body) - 4) + body + struct.pack(">I", zlib.crc32(body))
        return data[:-PNG_END] + chunk + data[-PNG_END:]
    if codec == "JPEG":
        return data[:2] + _comments(missing) + data[2:]
    raise InputError(f"{codec} images cannot be padded; convert the dataset to PNG or JPEG")


def _comments(length: int) -> bytes:
    """JPEG comments of ``length`` bytes in all."""
    made = b""
    while length:
        size = min(length, JPEG_LONGEST + JPEG_OVERHEAD)
        if 0 < length - size < JPEG_OVERHEAD:
            size -= JPEG_OVERHEAD
        made += b"\xff\xfe" + struct.pack(">H", size - 2) + bytes(size - JPEG_OVERHEAD)
        length -= size
    return made
