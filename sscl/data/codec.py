"""Image files to pixels and back, in the codec that they came in."""

from __future__ import annotations

import io

import numpy as np
import torch
from PIL import Image, JpegImagePlugin, UnidentifiedImageError
from torch import Tensor

CODECS = ("PNG", "JPEG", "BMP")


class RefusedImageError(Exception):
    """An image that cannot be used; the message is the reason."""


def decode(data: bytes) -> np.ndarray:
    """uint8 (H, W) for greyscale or (H, W, 3) for RGB.

    Raises:
        RefusedImageError: empty, damaged, another codec, or not 8-bit greyscale or RGB.
    """
    if not data:
        raise RefusedImageError("empty file")
    try:
        image = Image.open(io.BytesIO(data))
        if image.format not in CODECS:
            raise RefusedImageError(f"{image.format} file, expected {', '.join(CODECS)}")
        if image.mode not in ("L", "RGB"):
            raise RefusedImageError(
                f"{_MODES.get(image.mode, image.mode)} image, expected 8-bit greyscale or RGB: convert it"
            )
        return np.asarray(image)
    except (UnidentifiedImageError, OSError, SyntaxError, ValueError) as error:
        raise RefusedImageError(f"damaged or not an image ({str(error).splitlines()[0][:60]})") from None
    except Image.DecompressionBombError:
        raise RefusedImageError("implausibly many pixels") from None


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
    "P": "palette",
    "I;16": "16-bit",
    "I": "32-bit",
    "F": "float",
    "1": "1-bit",
    "RGBA": "RGBA",
    "LA": "LA",
}
