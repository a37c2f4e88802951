"""Datasets that hide images, name files outside, or break decoders; each is used, refused by image, or one line."""

from __future__ import annotations

import io
import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from PIL import Image

from benchmarks.hostile_inputs.base import Input, Place
from sscl.config import DataConfig
from sscl.data.store import Card
from sscl.stages import prepare

CLASSES = ("a", "b", "c")
Folder = Callable[[Path], object]
Columns = Callable[[list[bytes], list[int]], dict[str, Any]]


def picture(number: int, size: int = 28) -> Image.Image:
    return Image.fromarray(np.random.default_rng(number).integers(0, 256, (size, size, 3), dtype=np.uint8))


def encoded(image: Image.Image, kind: str = "PNG", **options: Any) -> bytes:
    buffer = io.BytesIO()
    image.save(buffer, kind, **options)
    return buffer.getvalue()


def prepared(source: str, place: Place) -> str:
    data = DataConfig(source, str(place.folder / "data"), None, None, None, None, "stop")
    prepare.run(data, 0, place.folder / "out", place.folder / "refused.csv")
    return f"{Card.read(place.folder / 'out').counts['train']} of 12 used"


def folder(change: Folder) -> Callable[[Place], str]:
    """An image folder with 12 training and 6 test images, changed."""

    def attempt(place: Place) -> str:
        for number in range(18):
            split, name = ("train", "test")[number >= 12], CLASSES[number % 3]
            path = place.folder / "data" / split / name / f"{number:02d}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(encoded(picture(number)))
        change(place.folder / "data")
        return prepared("image_folder", place)

    return attempt


def first(content: Callable[[Path], object]) -> Callable[[Place], str]:
    """The first training image replaced."""

    def change(root: Path) -> None:
        path = root / "train/a/00.png"
        path.unlink()
        content(path)

    return folder(change)


def bytes_of(data: bytes) -> Callable[[Place], str]:
    return first(lambda path: path.write_bytes(data))


def scans() -> bytes:
    """A progressive JPEG whose last scan stands there again and again."""
    data = encoded(picture(0), "JPEG", progressive=True)
    return data[:-2] + data[data.rindex(b"\xff\xda") : -2] * 1000 + data[-2:]


def one_name(root: Path) -> None:
    """An image that becomes x.gif.png, beside one that is called so."""
    (root / "train/a/x.gif").write_bytes(encoded(picture(20), "GIF"))
    (root / "train/a/x.gif.png").write_bytes(encoded(picture(21)))


def heading(root: Path) -> None:
    for split in ("train", "test"):
        (root / split / "a").rename(root / split / "a\n# Heading")


def table(columns: Columns, metadata: dict[str, str] | None = None) -> Callable[[Place], str]:
    """A parquet dataset with some columns changed."""

    def attempt(place: Place) -> str:
        (place.folder / "data").mkdir()
        for split, numbers in (("train", range(12)), ("test", range(12, 18))):
            images, labels = [encoded(picture(n)) for n in numbers], [n % 3 for n in numbers]
            rows = [{"bytes": data, "path": f"{split}-{n}.png"} for n, data in enumerate(images)]
            found = pa.table({"image": rows, "label": labels} | columns(images, labels))
            pq.write_table(found.replace_schema_metadata(metadata), place.folder / f"data/{split}.parquet")
        return prepared("parquet", place)

    return attempt


def labels(change: Callable[[int], Any]) -> Callable[[Place], str]:
    return table(lambda _, found: {"label": pa.array([change(label) for label in found])})


def bomb(width: int) -> bytes:
    header = encoded(picture(0, 1), "BMP")
    return header[:18] + width.to_bytes(4, "little") * 2 + header[26:]


def turned() -> bytes:
    exif = Image.Exif()
    exif[0x0112] = 6
    return encoded(picture(0), "JPEG", exif=exif)


def outside(images: list[bytes], _: list[int]) -> dict[str, Any]:
    return {"image": [{"bytes": None, "path": "/etc/passwd"} for _ in images]}


USED = "^12 of 12 used"
INPUTS = [
    Input("webp", "image", USED, bytes_of(encoded(picture(0), "WEBP", lossless=True))),
    Input("gif", "image", USED, bytes_of(encoded(picture(0), "GIF"))),
    Input("tiff", "image", USED, bytes_of(encoded(picture(0), "TIFF"))),
    Input("ppm", "image", USED, bytes_of(encoded(picture(0), "PPM"))),
    Input("camera JPEG with a second picture", "image", USED, bytes_of(encoded(picture(0), "MPO", save_all=True, append_images=[picture(1)]))),
    Input("JPEG that lies on its side", "image", USED, bytes_of(turned())),
    Input("transparent", "image", "transparent", bytes_of(encoded(Image.new("RGBA", (28, 28))))),
    Input("animated", "image", "several frames", bytes_of(encoded(picture(0), "GIF", save_all=True, append_images=[picture(1)]))),
    Input("JPEG of a thousand scans", "image", "implausibly many scans", bytes_of(scans())),
    Input("CMYK", "image", "CMYK image", bytes_of(encoded(picture(0).convert("CMYK"), "JPEG"))),
    Input("16 bits", "image", "16-bit image", bytes_of(encoded(Image.new("I;16", (28, 28))))),
    Input("cut off", "image", "damaged", bytes_of(encoded(picture(0))[:200])),
    Input("empty", "image", "empty file", bytes_of(b"")),
    Input("program", "image", "damaged or not an image", bytes_of(b"#!/bin/sh\nrm -rf /")),
    Input("60,000 pixels square", "image", "implausibly", bytes_of(bomb(60_000))),
    Input("colour profile that is none", "image", "colour profile", bytes_of(encoded(picture(0), icc_profile=b"x" * 200))),
    Input("pipe", "image", "not a regular file", first(os.mkfifo)),
    Input("device", "image", "not a regular file", first(lambda path: path.symlink_to("/dev/zero"))),
    Input("link to nothing", "image", "No such file", first(lambda path: path.symlink_to("/nowhere"))),
    Input("folder that contains itself", "image folder", USED, folder(lambda root: (root / "train/a/again").symlink_to(root / "train/a"))),
    Input("__MACOSX", "image folder", USED, folder(lambda root: (root / "train/__MACOSX").mkdir())),
    Input("name in Latin-1", "image folder", USED, folder(lambda root: os.rename(os.fsencode(root / "train/a/00.png"), os.fsencode(root / "train/a") + b"/caf\xe9.png"))),
    Input("two images of one name", "image folder", "another image has this name", folder(one_name)),
    Input("heading as a class's name", "image folder", "cannot be shown", folder(heading)),
    Input("text among images", "image folder", "notes.txt: damaged", folder(lambda root: (root / "train/a/notes.txt").write_text("notes"))),
    Input("the first image of another size", "image folder", "32x32 px", bytes_of(encoded(picture(0, 32)))),
    Input("labels that are names", "parquet", USED, labels(lambda label: CLASSES[label])),
    Input("labels from 1", "parquet", "begin at 1", labels(lambda label: label + 1)),
    Input("labels of 2^40", "parquet", "beyond 100,000", labels(lambda label: label << 40)),
    Input("labels that are NaN", "parquet", "no labels from 0 on", labels(lambda _: float("nan"))),
    Input("labels that are lists", "parquet", "no labels from 0 on", labels(lambda label: [label])),
    Input("a plain binary column", "parquet", USED, table(lambda images, _: {"image": pa.array(images, pa.binary())})),
    Input("numbers as images", "parquet", "empty file", table(lambda images, _: {"image": list(range(len(images)))})),
    Input("paths to /etc/passwd", "parquet", "outside of the dataset's folder", table(outside)),
    Input("class names of 100,000 brackets", "parquet", "cannot be read", table(lambda *_: {}, {"class_names": "[" * 100_000})),
    Input("class names twice", "parquet", "not a list of different names", table(lambda *_: {}, {"class_names": '["a", "a", "b"]'})),
]  # fmt: skip
