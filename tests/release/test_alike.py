"""Nothing but the pixels may tell marked images from others."""

from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from PIL import Image
from sklearn.ensemble import RandomForestClassifier
from sklearn.metrics import roc_auc_score
from sklearn.model_selection import cross_val_predict

from sscl.config import DataConfig
from sscl.data.base import Record
from sscl.data.codec import encode_like
from sscl.data.store import Card, open_dataset, writing
from sscl.release import alike
from sscl.release.config import Limits, ReleaseConfig
from sscl.release.package import pack
from sscl.stages import prepare

ABOUT = ReleaseConfig(
    "shapes", "Shapes", "Bars and squares.", "CC-BY-4.0", "us", "https://example.org", "s3://a", "s3://b", [], 70, 2,
    Limits(1, 1, 1, 1, 1),
)  # fmt: skip


def encoded(pixels: np.ndarray, kind: str, **options: object) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, kind, **options)
    return buffer.getvalue()


@given(
    extra=st.integers(4, 100) | st.integers(65_500, 65_600) | st.integers(131_000, 131_200), seed=st.integers(0, 100)
)
def test_padding_changes_the_length_alone(extra: int, seed: int) -> None:
    pixels = np.random.default_rng(seed).integers(0, 256, (9, 9, 3), dtype=np.uint8)
    data = encoded(pixels, "JPEG")
    longer = alike.padded(data, len(data) + extra)
    assert len(longer) == len(data) + extra
    image = Image.open(io.BytesIO(longer))
    image.load()
    assert np.array_equal(np.asarray(image), np.asarray(Image.open(io.BytesIO(data))))


def test_no_room() -> None:
    data = encoded(np.zeros((4, 4, 3), dtype=np.uint8), "JPEG")
    with pytest.raises(ValueError, match="no room"):
        alike.padded(data, len(data) + 3)


def side_information(data: bytes, position: int) -> list[float]:
    """What a file tells without its pixels: length, place, codec, tables, segments."""
    image = Image.open(io.BytesIO(data))
    tables = getattr(image, "quantization", {})
    numbers = [len(data), position, len(image.info), sum(sum(t) for t in tables.values()), len(tables)]
    if data[:2] == b"\xff\xd8":
        at, segments = 2, []
        while data[at + 1] != 0xDA:
            length = struct.unpack(">H", data[at + 2 : at + 4])[0]
            if data[at + 1] != 0xFE:  # comments fill what the scan leaves, whose length is the content's
                segments += [data[at + 1], length]
            at += 2 + length
    else:
        at, segments = 8, []
        while at < len(data):
            length = struct.unpack(">I", data[at : at + 4])[0]
            segments += [length, *data[at + 4 : at + 8]]
            at += 12 + length
    return [*numbers, len(segments), *(segments + [0] * 40)[:40]]


def auroc(folder: Path, marked: set[int]) -> float:
    records = list(open_dataset_files(folder))
    features = np.array([side_information(record.data, number) for number, record in enumerate(records)], dtype=float)
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
    pack(tmp_path / "released", marked, tmp_path / "commitment", ABOUT, tmp_path / "package")
    return tmp_path / "released", tmp_path / "package", marked


@pytest.mark.parametrize("kind", ["PNG", "JPEG"])
def test_side_information_does_not_tell_which_images_are_marked(kind: str, tmp_path: Path) -> None:
    released, package, marked = release(tmp_path, kind)
    assert auroc(released, marked) > 0.9, "the classifier must be able to see what the package hides"
    assert auroc(package, marked) <= 0.55


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
    released, package, marked = release(tmp_path, "PNG")
    files = pack(released, marked, tmp_path / "commitment", ABOUT, tmp_path / "again")
    assert files == pack(released, marked, tmp_path / "commitment", ABOUT, tmp_path / "third")
    assert all((package / file.path).read_bytes() == (tmp_path / "again" / file.path).read_bytes() for file in files)
