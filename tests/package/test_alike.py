"""Nothing but the pixels may tell marked images from others."""

from __future__ import annotations

import io
import struct
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from sscl.config import DataConfig, PackageConfig
from sscl.data.base import Record
from sscl.data.codec import RefusedImageError, encode_like
from sscl.data.store import Card, open_dataset, writing
from sscl.package import alike
from sscl.package.pack import pack
from sscl.stages import prepare

pytestmark = pytest.mark.slow
ABOUT = PackageConfig("shapes", "Shapes", "Bars and squares.", "CC-BY-4.0", "", "us", "https://example.org", 70)


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


def test_every_image_becomes_an_uncompressed_png_of_one_length() -> None:
    rng = np.random.default_rng(0)
    noisy, flat = rng.integers(0, 256, (9, 9, 3), dtype=np.uint8), np.zeros((9, 9, 3), dtype=np.uint8)
    files = [encoded(pixels, kind) for pixels in (noisy, flat) for kind in ("PNG", "BMP", "JPEG")]
    files.append(encoded(flat[:, :, 0], "PNG"))  # greyscale, where marked ones are RGB
    made = [alike.plain(data, 3, 9) for data in files]
    assert {len(data) for data in made} == {len(made[0])}
    for before, after in zip(files, made, strict=True):
        image = Image.open(io.BytesIO(after))
        assert (image.format, image.mode) == ("PNG", "RGB")
        assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(before)).convert("RGB")))


def test_colour_among_grey_images_is_refused() -> None:
    """It would be an RGB file of another length, which no marked image is."""
    colour = encoded(np.zeros((9, 9, 3), dtype=np.uint8), "PNG")
    with pytest.raises(RefusedImageError, match="in colour, expected greyscale as the others are"):
        alike.plain(colour, 1, 9)


def side_information(data: bytes, position: int) -> list[float]:
    """What a file tells without its pixels: length, place, codec, tables, segments."""
    image = Image.open(io.BytesIO(data))
    tables = getattr(image, "quantization", {})
    numbers = [len(data), position, len(image.info), sum(sum(t) for t in tables.values()), len(tables)]
    if data[:2] == b"\xff\xd8":
        at, segments = 2, []
        while data[at + 1] != 0xDA:
            length = struct.unpack(">H", data[at + 2 : at + 4])[0]
            segments += [data[at + 1], length]
            at += 2 + length
    else:
        at, segments = 8, []
        while at < len(data):
            length = struct.unpack(">I", data[at : at + 4])[0]
            segments += [length, *data[at + 4 : at + 8]]
            at += 12 + length
    return [*numbers, len(segments), *(segments + [0] * 40)[:40]]


def columns(folder: Path) -> list[list[float]]:
    """What the parquet files say of each training image's row group without its rows: sizes, statistics, encodings."""
    found: list[list[float]] = []
    for path in sorted([*folder.glob("train*.parquet"), *folder.glob("data/train*.parquet")]):
        metadata = pq.ParquetFile(path).metadata
        for number in range(metadata.num_row_groups):
            group = metadata.row_group(number)
            numbers: list[float] = [path.stat().st_size, group.num_rows, group.total_byte_size]
            for column in (group.column(i) for i in range(group.num_columns)):
                told = column.statistics
                extremes = [told.min, told.max] if told is not None and told.has_min_max else []
                numbers += [column.total_compressed_size, column.total_uncompressed_size, len(column.encodings)]
                numbers += [len(value) if isinstance(value, bytes | str) else value for value in extremes]
            found += [numbers] * group.num_rows
    return found


def auroc(folder: Path, marked: set[int]) -> float:
    records = list(open_dataset_files(folder))
    told = columns(folder)
    numbers = [[*side_information(record.data, n), *told[n]] for n, record in enumerate(records)]
    features = np.array(numbers, dtype=float)
    truth = np.array([number in marked for number in range(len(records))])
    forest = RandomForestClassifier(100, random_state=0, min_samples_leaf=3)
    scores = cross_val_predict(forest, features, truth, cv=5, method="predict_proba")[:, 1]
    return float(roc_auc_score(truth, scores))


def open_dataset_files(folder: Path) -> list[Record]:
    from sscl.data.formats.parquet import ParquetDataset

    return list(ParquetDataset(folder).records("train"))


def release(tmp_path: Path, kind: str) -> tuple[Path, Path, set[int]]:
    """A dataset whose files another program wrote, a release of it in which some are marked, and which."""
    rng = np.random.default_rng(0)
    options = {"quality": 80, "optimize": True, "comment": b"camera"} if kind == "JPEG" else {"compress_level": 1}
    smooth = [np.full((16, 16, 3), rng.integers(40, 200), np.uint8) + rng.integers(0, 9, (16, 16, 3), np.uint8)
              for _ in range(1200)]  # fmt: skip
    marked = set(rng.choice(1200, 300, replace=False).tolist())
    with writing(tmp_path / "source", "parquet", ("a", "b"), {}) as writer:
        for split in ("train", "test"):
            for number, pixels in enumerate(smooth if split == "train" else [255 - p for p in smooth[:20]]):
                writer.write(split, Record(f"{number}.x", encoded(pixels, kind, **options), number % 2))
    config = DataConfig("parquet", str(tmp_path / "source"), None, None, None, None, "stop")
    prepare.run(config, 0, tmp_path / "clean", tmp_path / "refused.csv")
    card, clean = open_dataset(tmp_path / "clean")
    with writing(tmp_path / "released", card.format, card.class_names, card.layout) as writer:
        for split in ("train", "test"):
            for number, record in enumerate(clean.records(split)):
                data = record.data
                if split == "train" and number in marked:
                    noisy = smooth[number] ^ rng.integers(0, 2, (16, 16, 3), np.uint8) * 31
                    data = encode_like(noisy, data)
                writer.write(split, Record(record.name, data, record.label))
    card.write(tmp_path / "released")
    (tmp_path / "commitment").mkdir()
    (tmp_path / "commitment/commitment.json").write_text("{}\n")
    pack(tmp_path / "released", tmp_path / "commitment", ABOUT, tmp_path / "package")
    return tmp_path / "released", tmp_path / "package", marked


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_side_information_does_not_tell_which_images_are_marked(kind: str, tmp_path: Path) -> None:
    released, package, marked = release(tmp_path, kind)
    assert auroc(released, marked) > 0.9, "the classifier must be able to see what the package hides"
    assert auroc(package, marked) <= 0.55


@pytest.mark.parametrize(
    ("identifier", "text", "expected"),
    [
        ("CC-BY-4.0", "", "Its text: https://spdx.org/licenses/CC-BY-4.0.html"),
        ("other", "", "Ask us, https://example.org"),
        ("MIT OR Apache-2.0", "", "Ask us, https://example.org"),
        ("other", "For research only.\nNo resale.", "For research only.\nNo resale.\n"),
    ],
)
def test_a_release_says_its_licence(identifier: str, text: str, expected: str, tmp_path: Path) -> None:
    released, _, _ = release(tmp_path, "PNG")
    about = replace(ABOUT, licence=identifier, licence_text=text)
    files = pack(released, tmp_path / "commitment", about, tmp_path / "x")
    assert expected in (tmp_path / "x/LICENSE").read_text()
    assert "LICENSE" in {file.path for file in files}
    assert "LICENSE" in (tmp_path / "x/SHA256SUMS").read_text()


def test_names_order_labels_and_pixels_stay(tmp_path: Path) -> None:
    released, package, _ = release(tmp_path, "PNG")
    before = list(open_dataset(released)[1].records("train"))
    after = open_dataset_files(package)
    assert [(r.name, r.label) for r in before] == [(r.name, r.label) for r in after]
    pixels = [[np.asarray(Image.open(io.BytesIO(r.data))) for r in records] for records in (before, after)]
    assert all(np.array_equal(a, b) for a, b in zip(*pixels, strict=True))
    assert Card.read(released).counts["train"] == len(after) == 1200
    assert len(list((package / "data").glob("train-*-of-00018.parquet"))) == 18


def test_the_same_input_gives_the_same_bytes(tmp_path: Path) -> None:
    released, package, _ = release(tmp_path, "PNG")
    files = pack(released, tmp_path / "commitment", ABOUT, tmp_path / "again")
    assert files == pack(released, tmp_path / "commitment", ABOUT, tmp_path / "third")
    assert all((package / file.path).read_bytes() == (tmp_path / "again" / file.path).read_bytes() for file in files)
