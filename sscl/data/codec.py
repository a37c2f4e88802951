"""Image files to pixels and back, in the codec that they came in."""

from __future__ import annotations

import io
import struct
import zlib
from contextlib import suppress

import numpy as np
import torch
from PIL import Image, ImageCms, ImageOps, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

from sscl.errors import printable

CODECS = ("PNG", "JPEG", "BMP")  # what is kept as it is, where it means nothing besides its pixels
READ = (*CODECS, "WEBP", "PPM", "TIFF", "GIF")  # a camera's MPO is opened as JPEG
MOST_PIXELS = 50_000_000
MOST_SCANS = 100  # of a JPEG file, each of which changes every pixel; progressive ones have about ten
GAMMA = 1 / 2.2
PNG_START = b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR"
PNG_COLOURS = {0: "L", 2: "RGB"}
PNG_END = b"\0\0\0\0IEND\xaeB`\x82"
PNG_FRAME = 57  # bytes of a PNG file besides its pixels: signature, header, the frame of IDAT, end
ORIENTATION = 0x0112  # Exif tag; 1 is upright


class RefusedImageError(Exception):
    """An image that cannot be used; the message is the reason."""


def decode(data: bytes) -> np.ndarray:
    """uint8 (H, W) for greyscale or (H, W, 3) for RGB, as the file is meant to be seen.

    Orientation, colour profile and palette are applied.

    Raises:
        RefusedImageError: empty, damaged, another codec, transparent, several frames, or not 8 bits a channel.
    """
    return opened(data)[0]


def opened(data: bytes) -> tuple[np.ndarray, bool]:
    """The pixels, and whether they are all that the file means, so that its bytes may stay.

    Raises:
        RefusedImageError: as ``decode``.
    """
    if not data:
        raise RefusedImageError("empty file")
    if _is_plain_png(data):
        with suppress(ValueError, MemoryError, OverflowError):  # damaged: said below
            return _plain_png(data), True
    if data[:2] == b"\xff\xd8" and data.count(b"\xff\xda") > MOST_SCANS:
        raise RefusedImageError("implausibly many scans")
    try:
        image = Image.open(io.BytesIO(data), formats=READ)
        if image.width * image.height > MOST_PIXELS:
            raise RefusedImageError("implausibly many pixels")
        if image.format != "MPO" and _has_frames(image):  # an MPO's first frame is the photograph
            raise RefusedImageError("several frames, expected one: save the one that counts")
        plain = image.format in CODECS and image.mode in ("L", "RGB")
        upright = image.getexif().get(ORIENTATION, 1) == 1
        meant = _in_srgb(ImageOps.exif_transpose(image))
        return np.asarray(_opaque(meant)), plain and upright and "icc_profile" not in image.info
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError, TypeError, KeyError, IndexError) as error:
        said = (str(error) or type(error).__name__).splitlines()[0][:60]
        raise RefusedImageError(f"damaged or not an image ({printable(said)})") from None
    except (Image.DecompressionBombError, MemoryError, OverflowError, struct.error, zlib.error):
        raise RefusedImageError("damaged, or implausibly large") from None


def _has_frames(image: Image.Image) -> bool:
    """Whether there is a second frame; counting them all could take long."""
    if not hasattr(image, "n_frames"):
        return False
    try:
        image.seek(1)
    except EOFError:
        return False
    return True


def _is_plain_png(data: bytes) -> bool:
    """Whether this is a PNG file of 8 bits, grey or RGB, with its pixels in one chunk and nothing else."""
    if len(data) < PNG_FRAME or data[:16] != PNG_START or data[-12:] != PNG_END:
        return False
    width, height, *kind = struct.unpack(">IIBBBBB", data[16:29])
    length, chunk = struct.unpack(">I4s", data[33:41])
    if kind[0] != 8 or kind[1] not in PNG_COLOURS or any(kind[2:]) or not 0 < width * height <= MOST_PIXELS:
        return False
    return bool(chunk == b"IDAT" and len(data) == length + PNG_FRAME)


def _plain_png(data: bytes) -> np.ndarray:
    """The pixels, by PIL's decoder without its search for what is not there, which takes longer than a small image.

    Raises:
        ValueError: damaged.
    """
    width, height, _, colour = struct.unpack(">IIBB", data[16:26])
    for part, stated in ((data[12:29], data[29:33]), (data[37:-16], data[-16:-12])):
        if zlib.crc32(part) != int.from_bytes(stated):
            raise ValueError("another checksum")
    mode = PNG_COLOURS[colour]
    return np.asarray(Image.frombytes(mode, (width, height), data[41:-16], "zip", mode))


def _in_srgb(image: Image.Image) -> Image.Image:
    """The image in sRGB, if it says that it is in another colour space."""
    profile = image.info.get("icc_profile")
    if not profile:
        if abs(image.info.get("gamma", GAMMA) - GAMMA) > 0.01:
            raise RefusedImageError(f"gamma {image.info['gamma']:.3g}, expected that of sRGB: convert it")
        return image
    try:
        source = ImageCms.ImageCmsProfile(io.BytesIO(profile))
        if "srgb" in ImageCms.getProfileDescription(source).lower() or image.mode == "L":
            return image
        base = image.convert("RGB") if image.mode == "P" else image
        found = ImageCms.profileToProfile(base, source, ImageCms.createProfile("sRGB"))
    except (ImageCms.PyCMSError, OSError, TypeError, ValueError):
        raise RefusedImageError("a colour profile that cannot be applied: convert it to sRGB") from None
    return image if found is None else found


def _opaque(image: Image.Image) -> Image.Image:
    """The image as greyscale or RGB."""
    if image.mode in ("RGBA", "LA", "PA") or "transparency" in image.info:
        alpha = image.convert("RGBA").getchannel("A")
        if alpha.getextrema() != (255, 255):
            raise RefusedImageError("transparent, expected opaque: put it on a background")
        return image.convert("L" if image.mode in ("L", "LA") else "RGB")
    if image.mode in ("P", "1"):
        return image.convert("RGB" if image.mode == "P" else "L")
    if image.mode not in ("L", "RGB"):
        raise RefusedImageError(
            f"{_MODES.get(image.mode, image.mode)} image, expected 8-bit greyscale or RGB: convert it"
        )
    return image


def resize(pixels: np.ndarray, size: int) -> np.ndarray:
    """Bilinear with antialiasing, to (size, size)."""
    return np.asarray(Image.fromarray(pixels).resize((size, size), Image.Resampling.BILINEAR))


def encode_png(pixels: np.ndarray) -> bytes:
    """uint8 (H, W) or (H, W, 3) as PNG."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "PNG")
    return buffer.getvalue()


def encode_jpeg(pixels: np.ndarray, quality: int) -> bytes:
    """uint8 (H, W) or (H, W, 3) as JPEG with PIL's default chroma subsampling."""
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=quality)
    return buffer.getvalue()


def encode_like(pixels: np.ndarray, original: bytes) -> bytes:
    """Encode in the codec of ``original``; JPEG with the same quantisation tables and chroma subsampling."""
    source = Image.open(io.BytesIO(original))
    buffer = io.BytesIO()
    if source.format == "JPEG":
        tables = source.quantization  # type: ignore[attr-defined]
        colour = source.mode == "RGB" and pixels.ndim == 3
        options = {"subsampling": JpegImagePlugin.get_sampling(source)} if colour else {}
        if len(tables) == 1 and pixels.ndim == 3:
            tables = {0: tables[0], 1: tables[0]}
        Image.fromarray(pixels).save(buffer, "JPEG", qtables=tables, **options)
    else:
        Image.fromarray(pixels).save(buffer, source.format or "PNG")
    return buffer.getvalue()


def to_tensor(pixels: np.ndarray, channels: int) -> Tensor:
    """uint8 (H, W[, 3]) to (C, H, W); greyscale is repeated where the dataset is RGB."""
    plane = pixels[:, :, None] if pixels.ndim == 2 else pixels
    if plane.shape[2] != channels:
        plane = np.repeat(plane, channels, axis=2)
    return torch.from_numpy(plane.transpose(2, 0, 1).copy())


def to_pixels(image: Tensor) -> np.ndarray:
    """uint8 (C, H, W) to (H, W) or (H, W, 3)."""
    array = image.permute(1, 2, 0).numpy()
    return np.ascontiguousarray(array[:, :, 0] if array.shape[2] == 1 else array)


_MODES = {
    "CMYK": "CMYK",
    "I;16": "16-bit",
    "I": "32-bit",
    "F": "float",
}
