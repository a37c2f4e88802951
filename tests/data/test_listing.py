"""What a change of a dataset on disk looks like."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

import pytest

from sscl.config import Config
from sscl.data.listing import listing


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("train/cat/1.png", "train/dog/2.png", "test/cat/3.png"):
        path = tmp_path / "images" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"12345")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere/4.png").write_bytes(b"x")
    (tmp_path / "images/train/bird").symlink_to(tmp_path / "elsewhere")
    (tmp_path / "images/train/circle").symlink_to(tmp_path / "images")
    return tmp_path


def test_every_change_shows(folder: Path, config: Config) -> None:
    """A move to another class, another size, another time, a file more or less; also behind a link."""
    data = replace(config.data, source="image_folder", path="images")
    seen = [listing(data, folder)]
    assert [name for name, _, _ in seen[0]] == [
        "test/cat/3.png",
        "train/bird/4.png",
        "train/cat/1.png",
        "train/dog/2.png",
    ]
    changes = [
        lambda: (folder / "images/train/dog/2.png").rename(folder / "images/train/cat/2.png"),
        lambda: (folder / "images/train/cat/1.png").write_bytes(b"123456"),
        lambda: os.utime(folder / "images/test/cat/3.png", ns=(1, 1)),
        lambda: (folder / "elsewhere/5.png").write_bytes(b"y"),
        lambda: (folder / "images/train/cat/2.png").unlink(),
    ]
    for change in changes:
        change()
        assert listing(data, folder) not in seen
        seen.append(listing(data, folder))


def test_published_datasets_lie_in_their_folder_or_are_fetched(
    folder: Path, config: Config, monkeypatch: pytest.MonkeyPatch
) -> None:
    (folder / "images").rename(folder / "sub-imagenet")
    monkeypatch.setenv("SSCL_DATA", str(folder))
    assert len(listing(replace(config.data, source="sub_imagenet", path=None))) == 4
    assert listing(replace(config.data, source="cifar10", path=None)) == []
    assert listing(replace(config.data, source="torchvision", path="CIFAR10")) == []
