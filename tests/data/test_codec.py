"""What an image file means besides its pixels is applied, or the file is refused; kinds that browsers make are read."""

from __future__ import annotations

import io
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image, ImageCms

from sscl.data.codec import ORIENTATION, RefusedImageError, decode, encode_jpeg, encode_png, opened

PIXELS = np.random.default_rng(0).integers(0, 256, (20, 20, 3), dtype=np.uint8)
SMOOTH = np.stack(np.broadcast_arrays(*np.ogrid[0:200:20j, 0:200:20j], 90), axis=2).astype(np.uint8)


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


def test_many_pixels_are_not_decoded() -> None:
    header = saved(np.zeros((1, 1, 3), np.uint8), "BMP")
    large = header[:18] + (60_000).to_bytes(4, "little") * 2 + header[26:]
    with pytest.raises(RefusedImageError, match="implausibly"):
        decode(large)
