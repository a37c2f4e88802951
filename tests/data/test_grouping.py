"""Images without labels: groups that look alike, the same every time, and a release that does not tell them."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from sklearn.metrics import adjusted_rand_score

from sscl.config import Config, DataConfig
from sscl.data.formats.parquet import ParquetDataset
from sscl.data.grouping import Grouped
from sscl.data.store import Card, load_split
from sscl.errors import ConfigError, InputError
from sscl.package.pack import pack
from sscl.stages import prepare
from sscl.types import ImageSet
from tests.conftest import store

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def looks(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Stripes across, stripes down and plain noise, all under one label."""
    rng = np.random.default_rng(0)
    stripes = 90 * (np.arange(32) // 4 % 2)
    images = []
    for number in range(72):
        pattern = (stripes[:, None], stripes[None, :], 0)[number % 3]
        images.append(rng.integers(0, 120, (1, 32, 32)) + pattern)
    found = torch.from_numpy(np.stack(images)).clamp(0, 255).byte()
    whole = ImageSet(found, torch.zeros(72, dtype=torch.int64), ("across", "down", "square"))
    return store(
        tmp_path_factory.mktemp("looks") / "data", whole.subset(torch.arange(60)), whole.subset(torch.arange(60, 72))
    )


def test_groups_are_what_looks_alike(looks: Path) -> None:
    source = ParquetDataset(looks)
    found, again = (list(Grouped(source, 3, 7).labels("train")) for _ in range(2))
    assert found == again
    assert adjusted_rand_score([n % 3 for n in range(60)], found) > 0.9
    held = list(Grouped(source, 3, 7).labels("test"))
    assert adjusted_rand_score([n % 3 for n in range(12)], held) > 0.9


def test_records_keep_their_bytes_and_get_the_group(looks: Path) -> None:
    source = ParquetDataset(looks)
    grouped = Grouped(source, 3, 7)
    assert grouped.class_names == ("group-000", "group-001", "group-002")
    for before, after, label in zip(
        source.records("train"), grouped.records("train"), grouped.labels("train"), strict=True
    ):
        assert (after.name, after.data, after.label) == (before.name, before.data, label)


def test_a_split_without_images(looks: Path, tmp_path: Path) -> None:
    for name in ("train", "test"):
        table = pq.read_table(looks / f"{name}.parquet")
        pq.write_table(table if name == "train" else table.slice(0, 0), tmp_path / f"{name}.parquet")
    with pytest.raises(InputError, match="test: no images to group"):
        list(Grouped(ParquetDataset(tmp_path), 3, 0).labels("test"))


def test_too_few_images(looks: Path) -> None:
    with pytest.raises(InputError, match=r"data\.groups: 61 groups of 60 images; use fewer"):
        list(Grouped(ParquetDataset(looks), 61, 0).labels("train"))
    with pytest.raises(ConfigError, match="groups: 1 is not possible, expected 2 or more"):
        DataConfig("parquet", str(looks), None, None, None, None, "stop", groups=1)


def test_a_release_without_labels_tells_no_group(looks: Path, config: Config, tmp_path: Path) -> None:
    data = DataConfig("parquet", str(looks), None, None, None, None, "stop", groups=3)
    prepare.run(data, 0, tmp_path / "clean", tmp_path / "refused.csv")
    assert Card.read(tmp_path / "clean").class_names == ("group-000", "group-001", "group-002")
    assert load_split(tmp_path / "clean", "train").labels.unique().tolist() == [0, 1, 2]
    (tmp_path / "commitment").mkdir()
    (tmp_path / "out").mkdir()
    (tmp_path / "out/data").mkdir()
    pack(tmp_path / "clean", tmp_path / "commitment", replace(config.package, labels=False), tmp_path / "out")
    (shard,) = (tmp_path / "out/data").glob("train-*.parquet")
    table = pq.read_table(shard)
    assert table.schema.names == ["image"]
    assert table["image"][0]["path"].as_py() == "train-00000000.png"
    metadata = json.loads((tmp_path / "out/croissant.json").read_text())
    assert [[f["name"] for f in one["field"]] for one in metadata["recordSet"]] == [["image"], ["image"]]
    assert all("group-" not in p.read_text() for p in (tmp_path / "out").iterdir() if p.is_file())
    assert b"group-" not in shard.read_bytes()
