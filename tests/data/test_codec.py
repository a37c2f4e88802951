"""What an image file means besides its pixels is applied, or the file is refused; kinds that browsers make are read."""

from __future__ import annotations

import io
import struct
import zlib
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms
from PIL.PngImagePlugin import PngInfo

from sscl.data.codec import (
    ORIENTATION,
    PNG_END,
    PNG_START,
    READ,
    RefusedImageError,
    _is_plain_png,
    decode,
    encode_jpeg,
    encode_png,
    opened,
)

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:200:20j, 0:200:20j], 90), axis=2).astype(np.uint8)
PLAIN = encode_png(PIXELS[:5, :6])


def saved(pixels: np.ndarray, kind: str, mode: str = "RGB", **options: Any) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).convert(mode).save(buffer, kind, **options)
    return buffer.getvalue()


@pytest.mark.parametrize("kind", ["PNG", "BMP", "PPM", "TIFF"])
def test_lossless_kinds(kind: str) -> None:
    pixels, plain = opened(saved(PIXELS, kind))
    np.testing.assert_array_equal(pixels, PIXELS)
    assert plain == (kind in ("PNG", "BMP"))


@pytest.mark.parametrize("kind", ["JPEG", "WEBP", "GIF", "MPO"])
def test_lossy_kinds(kind: str) -> None:
    options: dict[str, Any] = {"save_all": True, "append_images": [Image.new("RGB", (8, 8))]} if kind == "MPO" else {}
    pixels, plain = opened(saved(SMOOTH, kind, **options))
    assert np.abs(pixels.astype(int) - SMOOTH).mean() < 12
    assert plain == (kind == "JPEG")


def test_a_jpeg_of_many_scans_is_not_decoded() -> None:
    """The defect: every few bytes of another scan cost as much time as a whole image."""
    photograph = saved(SMOOTH, "JPEG", progressive=True)
    start = photograph.rindex(b"\xff\xda")
    assert opened(photograph)[1]
    with pytest.raises(RefusedImageError, match="implausibly many scans"):
        opened(photograph[:-2] + photograph[start:-2] * 100 + photograph[-2:])


@pytest.mark.parametrize("turn", range(2, 9))
def test_orientation_is_applied(turn: int) -> None:
    """Against what Pillow writes for a viewer; the defect: a camera's upright pictures lay on their side."""
    exif = Image.Exif()
    exif[ORIENTATION] = turn
    pixels, plain = opened(saved(PIXELS, "PNG", exif=exif))
    assert not plain
    moves = {2: (0, True), 3: (2, False), 4: (2, True), 5: (1, True), 6: (3, False), 7: (3, True), 8: (1, False)}
    quarter, mirrored = moves[turn]
    expected = np.rot90(PIXELS[:, ::-1] if mirrored else PIXELS, quarter)
    np.testing.assert_array_equal(pixels, expected)
    exif[ORIENTATION] = 1
    assert opened(saved(PIXELS, "PNG", exif=exif))[1]


def test_a_colour_profile_is_applied() -> None:
    """A profile that swaps nothing leaves the pixels; another space changes them as Little CMS says."""
    srgb = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    np.testing.assert_array_equal(decode(saved(PIXELS, "PNG", icc_profile=srgb)), PIXELS)
    lab = ImageCms.ImageCmsProfile(ImageCms.createProfile("LAB")).tobytes()
    for profile in (lab, b"nonsense"):
        with pytest.raises(RefusedImageError, match="colour profile that cannot be applied"):
            decode(saved(PIXELS, "PNG", icc_profile=profile))


def test_transparency() -> None:
    opaque = np.dstack((PIXELS, np.full((20, 20), 255, np.uint8)))
    buffer = io.BytesIO()
    Image.fromarray(opaque).save(buffer, "PNG")
    pixels, plain = opened(buffer.getvalue())
    np.testing.assert_array_equal(pixels, PIXELS)
    assert not plain
    for data in (saved(PIXELS, "PNG", transparency=tuple(PIXELS[0, 0].tolist())), saved(PIXELS, "PNG", "LA")):
        try:
            assert decode(data).shape == (20, 20)  # grey with an opaque alpha
        except RefusedImageError as error:
            refusal = str(error)
    assert refusal.startswith("transparent")


def test_palettes_and_bits_are_read() -> None:
    assert decode(saved(PIXELS, "PNG", "P")).shape == (20, 20, 3)
    assert set(np.unique(decode(saved(PIXELS, "PNG", "1")))) <= {0, 255}


@pytest.mark.filterwarnings("ignore::UserWarning")  # Pillow says what is damaged
@given(st.binary(max_size=300), st.sampled_from([encode_png(PIXELS), encode_jpeg(PIXELS, 75), saved(SMOOTH, "TIFF")]))
def test_whatever_the_bytes_only_one_error_comes_out(tail: bytes, head: bytes) -> None:
    for data in (tail, head[: len(head) // 2] + tail, head[:30] + tail):
        said = ""
        try:
            decode(data)
        except RefusedImageError as error:
            said = str(error)
        assert said.isprintable()


@pytest.mark.parametrize("shape", [(17, 23), (17, 23, 3)])
@pytest.mark.parametrize("level", [0, 9])
def test_plain_png_files_give_what_pil_reads(shape: tuple[int, ...], level: int) -> None:
    for pixels in (np.random.default_rng(0).integers(0, 256, shape, dtype=np.uint8), np.zeros(shape, np.uint8)):
        plain, with_a_comment = io.BytesIO(), io.BytesIO()
        text = PngInfo()
        text.add_text("comment", "not plain")
        Image.fromarray(pixels).save(plain, "PNG", compress_level=level)
        Image.fromarray(pixels).save(with_a_comment, "PNG", compress_level=level, pnginfo=text)
        assert _is_plain_png(plain.getvalue())
        assert not _is_plain_png(with_a_comment.getvalue())
        for file in (plain, with_a_comment):
            np.testing.assert_array_equal(opened(file.getvalue())[0], pixels)


def test_interlaced_png_is_not_taken_for_plain() -> None:
    """Four pixels in three passes of Adam7, made by hand because PIL writes none."""

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", 2, 2, 8, 0, 0, 0, 1)
    rows = b"\0\1" + b"\0\2" + b"\0\3\4"  # each begins with its filter
    data = PNG_START[:8] + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(rows)) + PNG_END
    np.testing.assert_array_equal(decode(data), [[1, 2], [3, 4]])


@given(st.integers(0, 8 * len(PLAIN) - 1))
def test_a_damaged_png_file_is_refused_or_has_pils_pixels(bit: int) -> None:
    data = bytearray(PLAIN)
    data[bit // 8] ^= 1 << bit % 8
    try:
        expected: np.ndarray | None = np.asarray(Image.open(io.BytesIO(data), formats=READ))
    except Exception:
        expected = None
    try:
        found: np.ndarray | None = decode(bytes(data))
    except RefusedImageError:
        found = None
    if found is not None:
        np.testing.assert_array_equal(found, expected)


def test_many_pixels_are_not_decoded() -> None:
    header = saved(np.zeros((1, 1, 3), np.uint8), "BMP")
    large = header[:18] + (60_000).to_bytes(4, "little") * 2 + header[26:]
    with pytest.raises(RefusedImageError, match="implausibly"):
        decode(large)
