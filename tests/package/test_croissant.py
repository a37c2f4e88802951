"""A release as others' tools read it: mlcroissant, and the dataset card's own paths."""

from __future__ import annotations

import io
from pathlib import Path

import mlcroissant as mlc
import numpy as np
import pyarrow.parquet as pq
import pytest
import yaml
from PIL import Image

from sscl.package.croissant import licence_address
from tests.package.test_alike import open_dataset_files, release


@pytest.fixture(scope="module")
def package(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return release(tmp_path_factory.mktemp("croissant"), "PNG")[1]


@pytest.mark.filterwarnings("ignore::Warning")  # rdflib's and pandas' deprecations in mlcroissant
def test_mlcroissant_reads_what_the_shards_have(package: Path) -> None:
    expected = open_dataset_files(package)
    found = list(mlc.Dataset(str(package / "croissant.json")).records("train"))
    assert len(found) == len(expected)
    for ours, theirs in list(zip(expected, found, strict=True))[::100]:
        assert theirs["train/label"] == ours.label
        assert np.array_equal(theirs["train/image"], np.asarray(Image.open(io.BytesIO(ours.data))))


def test_the_cards_paths_are_the_shards(package: Path) -> None:
    """What Hugging Face's hub reads: front matter with a pattern for each split."""
    front = yaml.safe_load((package / "README.md").read_text().split("---")[1])
    counts = {"train": 1200, "test": 20}
    for entry in front["configs"][0]["data_files"]:
        rows = sum(pq.ParquetFile(path).metadata.num_rows for path in package.glob(entry["path"]))
        assert rows == counts.pop(entry["split"])
    assert counts == {}


@pytest.mark.parametrize("identifier", ["other", "MIT OR Apache-2.0"])
def test_what_spdx_has_no_page_for(identifier: str) -> None:
    assert licence_address(identifier) is None
