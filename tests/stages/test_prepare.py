from __future__ import annotations

import csv
import io
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from sscl.config import DataConfig
from sscl.data.base import Record
from sscl.data.codec import encode_png
from sscl.data.store import Card, load_split, writing
from sscl.errors import ConfigError, InputError
from sscl.stages import prepare
from tests.conftest import CLASSES, shapes, store


def section(source: Path, format: str = "parquet", refused: str = "stop", **changes: int) -> DataConfig:
    keys = {"image_size": None, "classes": None, "train_images": None, "test_images": None, **changes}
    return DataConfig(source=format, path=str(source), refused=refused, **keys)  # type: ignore[arg-type]


def picture(mode: str, size: tuple[int, int] = (28, 28), kind: str = "PNG") -> bytes:
    buffer = io.BytesIO()
    Image.new(mode, size).save(buffer, kind)
    return buffer.getvalue()


def frames(kind: str) -> bytes:
    buffer = io.BytesIO()
    first, second = (Image.new("RGB", (28, 28), colour) for colour in ("red", "blue"))
    first.save(buffer, kind, save_all=True, append_images=[second])
    return buffer.getvalue()


NOISE = np.arange(784, dtype=np.uint8).reshape(28, 28)
JPEG = io.BytesIO()
Image.fromarray(np.random.default_rng(0).integers(0, 255, (28, 28, 3), dtype=np.uint8)).save(JPEG, "JPEG")

BAD = {
    "truncated JPEG": (JPEG.getvalue()[:300], 0, "damaged or not an image"),
    "text": (b"not an image", 0, "damaged or not an image"),
    "empty": (b"", 0, "empty file"),
    "CMYK": (picture("CMYK", kind="JPEG"), 0, "CMYK image, expected 8-bit greyscale or RGB"),
    "16-bit": (picture("I;16"), 0, "16-bit image, expected 8-bit greyscale or RGB"),
    "transparent": (picture("RGBA"), 0, "transparent, expected opaque"),
    "two frames": (frames("GIF"), 0, "several frames, expected one"),
    "animated PNG": (frames("PNG"), 0, "several frames, expected one"),
    "another format": (picture("RGB", kind="ICO", size=(32, 32)), 0, "damaged or not an image"),
    "size": (picture("L", (30, 28)), 0, "30x28 px, expected 28x28: set data.image_size to resize"),
    "label": (encode_png(NOISE), 3, "label 3, expected 0 to 2"),
    "negative label": (encode_png(NOISE), -1, "no label, expected 0 to 2"),
}


def with_bad(folder: Path, data: bytes, label: int) -> Path:
    store(folder, shapes(30, 1), shapes(9, 2))
    from sscl.data.formats import FORMATS

    good = FORMATS["parquet"].read(folder)
    with writing(folder / "bad", "parquet", CLASSES, {}) as writer:
        for record in good.records("train"):
            writer.write("train", record)
        writer.write("train", Record("bad/one.png", data, label))
        for record in good.records("test"):
            writer.write("test", record)
    return folder / "bad"


def listed(path: Path) -> list[list[str]]:
    return list(csv.reader(io.StringIO(path.read_text())))


@pytest.mark.parametrize("kind", list(BAD))
def test_bad_images_stop_with_file_reason_and_remedy(kind: str, tmp_path: Path) -> None:
    data, label, reason = BAD[kind]
    source = with_bad(tmp_path / "source", data, label)
    with pytest.raises(InputError) as error:
        prepare.run(section(source), 0, tmp_path / "out", tmp_path / "refused.csv")
    assert f"train/bad/one.png: {reason}" in str(error.value)
    assert "mend them, or set data.refused: drop" in str(error.value)
    assert listed(tmp_path / "refused.csv")[1][:2] == ["train", "bad/one.png"]


@pytest.mark.parametrize("kind", list(BAD))
def test_bad_images_can_be_dropped(kind: str, tmp_path: Path) -> None:
    data, label, _ = BAD[kind]
    source = with_bad(tmp_path / "source", data, label)
    prepare.run(section(source, refused="drop"), 0, tmp_path / "out", tmp_path / "refused.csv")
    assert Card.read(tmp_path / "out").counts == {"train": 30, "test": 9}
    assert len(listed(tmp_path / "out/refused.csv")) == 2


def test_a_test_image_in_training_is_refused(tmp_path: Path) -> None:
    test = shapes(9, 2)
    source = store(tmp_path / "source", test, test)
    with pytest.raises(InputError, match=r"the same image is in the test split and 8 more; all are in"):
        prepare.run(section(source), 0, tmp_path / "out", tmp_path / "refused.csv")


@pytest.mark.parametrize("format", ["parquet", "image_folder"])
def test_format_names_bytes_and_labels_are_kept(format: str, tmp_path: Path) -> None:
    train, test = shapes(30, 1), shapes(9, 2)
    source = store(tmp_path / "source", train, test, format)
    prepare.run(section(source, format), 0, tmp_path / "out", tmp_path / "refused.csv")
    card = Card.read(tmp_path / "out")
    assert (card.format, card.class_names, card.channels, card.size) == (format, CLASSES, 1, 28)
    loaded = load_split(tmp_path / "out", "train")
    order = train.labels.argsort(stable=True) if format == "image_folder" else slice(None)
    assert (loaded.images == train.images[order]).all()
    assert (loaded.labels == train.labels[order]).all()
    if format == "image_folder":
        files = sorted(p.relative_to(source) for p in source.rglob("*.png"))
        assert len(files) == 39
        assert all((source / f).read_bytes() == (tmp_path / "out" / f).read_bytes() for f in files)


def test_an_image_that_went_missing_is_noticed(tmp_path: Path) -> None:
    """The defect: its place was filled with whatever the memory held."""
    source = store(tmp_path / "source", shapes(30, 1), shapes(9, 2), "image_folder")
    prepare.run(section(source, "image_folder"), 0, tmp_path / "out", tmp_path / "refused.csv")
    next((tmp_path / "out/train").rglob("*.png")).unlink()
    with pytest.raises(InputError, match=r"out/train: 29 images, its card says 30; run `sscl stage prepare` again"):
        load_split(tmp_path / "out", "train")


def test_same_content_same_name(tmp_path: Path) -> None:
    names = set()
    for format in ("parquet", "parquet"):
        source = store(tmp_path / f"s{len(names)}", shapes(30, 1), shapes(9, 2), format)
        prepare.run(section(source), 0, tmp_path / f"o{len(names)}", tmp_path / "r.csv")
        names.add(Card.read(tmp_path / f"o{len(names)}").name)
    assert len(names) == 1
    assert names.pop().startswith("parquet-")


def test_stated_resize(tmp_path: Path) -> None:
    source = store(tmp_path / "source", shapes(30, 1), shapes(9, 2, size=32))
    prepare.run(section(source, image_size=30), 0, tmp_path / "out", tmp_path / "r.csv")
    assert load_split(tmp_path / "out", "test").images.shape == (9, 1, 30, 30)


def test_greyscale_among_colour_becomes_colour(tmp_path: Path) -> None:
    source = store(tmp_path / "source", shapes(30, 1), shapes(9, 2, channels=3))
    prepare.run(section(source), 0, tmp_path / "out", tmp_path / "r.csv")
    assert load_split(tmp_path / "out", "train").images.shape == (30, 3, 28, 28)


def test_subsets_are_random_in_order_and_repeatable(tmp_path: Path) -> None:
    source = store(tmp_path / "source", shapes(90, 1), shapes(30, 2))
    for out, seed in (("a", 0), ("b", 0), ("c", 1)):
        prepare.run(section(source, train_images=40, test_images=10), seed, tmp_path / out, tmp_path / "r.csv")
    a, b, c = (load_split(tmp_path / out, "train").images for out in "abc")
    assert len(a) == 40
    assert (a == b).all()
    assert not (a == c).all()


def test_first_classes_only(tmp_path: Path) -> None:
    source = store(tmp_path / "source", shapes(30, 1), shapes(9, 2))
    prepare.run(section(source, classes=2), 0, tmp_path / "out", tmp_path / "r.csv")
    card = Card.read(tmp_path / "out")
    assert (card.class_names, card.counts) == (CLASSES[:2], {"train": 20, "test": 6})
    with pytest.raises(ConfigError, match=r"data\.classes: 4, but parquet has 3; lower it"):
        prepare.run(section(source, classes=4), 0, tmp_path / "out2", tmp_path / "r.csv")


def test_one_class_data(tmp_path: Path) -> None:
    source = store(tmp_path / "source", shapes(30, 1), shapes(9, 2))
    with pytest.raises(InputError, match="only one class; a watermark needs a target class and at least one other"):
        prepare.run(section(source, classes=1), 0, tmp_path / "out", tmp_path / "r.csv")


def test_a_class_without_training_images(tmp_path: Path) -> None:
    data = shapes(30, 1)
    source = store(tmp_path / "source", data.subset((data.labels != 2).nonzero().flatten()), shapes(9, 2))
    with pytest.raises(InputError, match="class 'square' has no training images"):
        prepare.run(section(source), 0, tmp_path / "out", tmp_path / "r.csv")


def test_zero_byte_parquet(tmp_path: Path) -> None:
    (tmp_path / "train.parquet").touch()
    (tmp_path / "test.parquet").touch()
    with pytest.raises(InputError, match=r"train\.parquet: empty \(zero bytes\); download it again"):
        prepare.run(section(tmp_path), 0, tmp_path / "out", tmp_path / "r.csv")


@pytest.mark.parametrize("format", ["parquet", "image_folder"])
def test_missing_folder(format: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="nowhere"):
        prepare.run(section(tmp_path / "nowhere", format), 0, tmp_path / "out", tmp_path / "r.csv")


def test_a_published_dataset_is_checked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    store(tmp_path / "mnist", shapes(30, 1), shapes(9, 2))
    monkeypatch.setenv("SSCL_DATA", str(tmp_path))
    with pytest.raises(InputError, match=r"mnist: the \w+ split is not the published one"):
        prepare.run(section(tmp_path, "mnist"), 0, tmp_path / "out", tmp_path / "r.csv")


def test_labels_that_differ_by_256_name_other_datasets(tmp_path: Path) -> None:
    """The defect: only a label's last byte was in the name, which secrets follow from."""
    names, classes = [], tuple(f"class {number:03d}" for number in range(260))
    for first, last in ((3, 259), (259, 3)):
        labels = {3: first, 259: last}
        folder = tmp_path / str(first)
        with writing(folder, "parquet", classes, {}) as writer:
            for number in range(260):
                image = encode_png(np.roll(NOISE, number))
                writer.write("train", Record(f"{number}.png", image, labels.get(number, number)))
            writer.write("test", Record("test.png", encode_png(NOISE.T.copy()), 0))
        prepare.run(section(folder), 0, tmp_path / f"out-{first}", tmp_path / "refused.csv")
        names.append(Card.read(tmp_path / f"out-{first}").name)
    assert names[0] != names[1]
