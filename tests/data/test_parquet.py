"""Parquet files as people have them: used, refused by row, or one line."""

from __future__ import annotations

import csv
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from sscl.data.codec import encode_png, to_pixels
from sscl.data.formats import FORMATS
from sscl.data.store import Card
from sscl.errors import InputError
from sscl.stages import prepare
from tests.conftest import CLASSES, shapes
from tests.stages.test_prepare import section

STRUCT = pa.struct([("bytes", pa.binary()), ("path", pa.string())])


def written(folder: Path, names: Any = CLASSES, **columns: Any) -> Path:
    """Train and test split; a column may be a function of split, images and labels."""
    folder.mkdir(exist_ok=True)
    for split, data in (("train", shapes(30, 1)), ("test", shapes(9, 2))):
        images, labels = [encode_png(to_pixels(image)) for image in data.images], data.labels.tolist()
        usual = {
            "image": pa.array([{"bytes": data, "path": f"{n}.png"} for n, data in enumerate(images)], STRUCT),
            "label": pa.array(labels),
        }
        table = pa.table(usual | {name: make(split, images, labels) for name, make in columns.items()})
        chosen = names(split) if callable(names) else names
        if chosen is not None:
            features = {"label": {"names": chosen, "_type": "ClassLabel"}}
            table = table.replace_schema_metadata({"huggingface": json.dumps({"info": {"features": features}})})
        pq.write_table(table, folder / f"{split}.parquet")
    return folder


def prepared(folder: Path, tmp_path: Path, refused: str = "stop") -> Card:
    prepare.run(section(folder, "parquet", refused), 0, tmp_path / "out", tmp_path / "refused.csv")
    return Card.read(tmp_path / "out")


def test_labels_that_are_names(tmp_path: Path) -> None:
    """The defect: TypeError."""
    folder = written(tmp_path / "s", None, label=lambda s, i, labels: pa.array([CLASSES[x] for x in labels]))
    card = prepared(folder, tmp_path)
    assert (card.class_names, card.counts) == (CLASSES, {"train": 30, "test": 9})


def test_labels_that_are_no_names_are_not_kept(tmp_path: Path) -> None:
    """The defect: a few bytes in a dictionary became gigabytes of labels."""
    image = encode_png(np.zeros((28, 28), np.uint8))
    table = pa.table({"image": [{"bytes": image, "path": "x"}] * 3, "label": ["x" * 1001] * 3})
    for split in ("train", "test"):
        pq.write_table(table, tmp_path / f"{split}.parquet")
    with pytest.raises(InputError, match="a label of 1,001 characters; is it the label column"):
        FORMATS["parquet"].read(tmp_path)


def test_a_file_that_is_damaged_in_the_middle_is_named(tmp_path: Path) -> None:
    """The defect: its place in memory was."""
    folder = written(tmp_path / "s")
    content = bytearray((folder / "train.parquet").read_bytes())
    content[100:4000] = bytes(3900)
    (folder / "train.parquet").write_bytes(content)
    with pytest.raises(InputError, match=r"s/train\.parquet: damaged \(.*\); download it again"):
        prepared(folder, tmp_path)


@pytest.mark.parametrize("missing", [None, float("nan"), float("inf"), 0.5])
def test_rows_without_a_label_are_refused_one_by_one(missing: Any, tmp_path: Path) -> None:
    def labels(split: str, images: list[bytes], found: list[int]) -> pa.Array:
        return pa.array([missing if split == "train" and n == 4 else float(x) for n, x in enumerate(found)])

    for names in (CLASSES, None):
        folder = written(tmp_path / "s", names, label=labels)
        with pytest.raises(InputError, match=r"train/4\.png: no label"):
            prepared(folder, tmp_path)
        assert prepared(folder, tmp_path, "drop").counts == {"train": 29, "test": 9}
        rows = list(csv.reader((tmp_path / "out/refused.csv").read_text().splitlines()))
        assert [row[:2] for row in rows[1:]] == [["train", "4.png"]]
        for path in (tmp_path / "out").iterdir():
            path.unlink()
        (tmp_path / "out").rmdir()


def test_a_plain_binary_column(tmp_path: Path) -> None:
    folder = written(tmp_path / "s", image=lambda s, images, labels: pa.array(images, pa.binary()))
    assert prepared(folder, tmp_path).counts == {"train": 30, "test": 9}


def test_paths_without_bytes_are_read_inside_of_the_folder_only(tmp_path: Path) -> None:
    secret = tmp_path / "secret.png"
    secret.write_bytes(encode_png(to_pixels(shapes(1, 9).images[0])))

    def images(split: str, found: list[bytes], labels: list[int]) -> pa.Array:
        rows = []
        for number, data in enumerate(found):
            (tmp_path / f"s/{split}-{number}.png").write_bytes(data)
            rows.append({"bytes": None, "path": f"{split}-{number}.png"})
        return pa.array(rows, STRUCT)

    assert prepared(written(tmp_path / "s", image=images), tmp_path).counts == {"train": 30, "test": 9}

    def outside(split: str, found: list[bytes], labels: list[int]) -> pa.Array:
        rows = images(split, found, labels).to_pylist()
        return pa.array([rows[0] | {"path": "../secret.png"}, rows[1] | {"path": str(secret)}, *rows[2:]], STRUCT)

    with pytest.raises(InputError, match="a path that is outside of the dataset's folder"):
        prepared(written(tmp_path / "s", image=outside), tmp_path)


@pytest.mark.parametrize(
    ("labels", "said"),
    [
        (lambda s, i, labels: pa.array([x + 1 for x in labels]), "the labels begin at 1, expected 0"),
        (lambda s, i, labels: pa.array([x << 40 for x in labels]), "beyond 100,000"),
        (lambda s, i, labels: pa.array([-5 - x for x in labels]), "no labels from 0 on"),
        (lambda s, i, labels: pa.array([None for _ in labels], pa.int64()), "no labels from 0 on"),
    ],
)
def test_labels_that_number_no_classes(labels: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        prepared(written(tmp_path / "s", None, label=labels), tmp_path)


@pytest.mark.parametrize(
    ("names", "said"),
    [
        (lambda split: CLASSES if split == "train" else CLASSES[::-1], "other class names than in the first file"),
        ("across", "not a list of different names"),
        (["a", "a", "b"], "not a list of different names"),
        ([1, 2, 3], "not a list of different names"),
    ],
)
def test_class_names(names: Any, said: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=said):
        prepared(written(tmp_path / "s", names), tmp_path)


def test_damage_in_the_middle_is_one_line(tmp_path: Path) -> None:
    folder = written(tmp_path / "s")
    content = bytearray((folder / "train.parquet").read_bytes())
    content[40 : len(content) // 2] = bytes(len(content) // 2 - 40)
    (folder / "train.parquet").write_bytes(content)
    with pytest.raises(InputError):
        prepared(folder, tmp_path)


def test_a_pipe_is_not_read(tmp_path: Path) -> None:
    folder = written(tmp_path / "s")
    (folder / "train.parquet").unlink()
    os.mkfifo(folder / "train.parquet")
    with pytest.raises(InputError, match="not a regular file"):
        prepared(folder, tmp_path)
