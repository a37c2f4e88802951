"""A dataset in shards: the same bytes whoever makes them and in whichever order, and nothing lost or added."""

from __future__ import annotations

import io
import os
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from sscl.artifacts import load_tensors, read_json
from sscl.config import Config
from sscl.data.base import Record
from sscl.data.codec import decode, encode_png, resize
from sscl.data.formats.parquet import ParquetDataset
from sscl.data.store import Card, load_split, writing
from sscl.errors import InputError
from sscl.layout import INDICES, SECRET_FILE, Root
from sscl.package.files import files_of
from sscl.package.shards import shards_of, write_shard
from sscl.release import large


@pytest.fixture
def many(config: Config) -> Config:
    """Ten shards, the last one short."""
    return replace(config, package=replace(config.package, shard_images=33))


def made(root: Path, config: Config, order: list[int] | None = None) -> tuple[Root, list[large.File]]:
    out, shards = large.plan(Root(root), config)
    files = {number: large.mark(out, number) for number in order or range(len(shards))}
    return out, [files[number] for number in range(len(shards))]


def test_any_order_and_any_rerun_give_the_same_bytes(copy: Path, many: Config) -> None:
    out, files = made(copy, many)
    (out.packed / files[2].path).write_bytes(b"half a sh")
    (out.packed / files[4].path).unlink()
    assert made(copy, many) == (out, files)
    candidate = large.assemble(out, files)
    assert candidate.files == files_of(out.packed)
    shutil.rmtree(Root(copy).large)
    assert made(copy, many, order=[5, 9, 0, 1, 8, 2, 7, 3, 6, 4, 10]) == (out, files)
    assert large.assemble(out, files) == candidate


def test_names_order_and_labels_stay_and_only_the_drawn_images_change(copy: Path, many: Config) -> None:
    root, files = made(copy, many)
    large.assemble(root, files)
    before = {split: load_split(copy / "clean", split) for split in ("train", "test")}
    packed = ParquetDataset(root.packed)
    chosen = set(load_tensors(root.watermark / INDICES)[0]["indices"].tolist())
    assert len(chosen) == read_json(root.watermark / SECRET_FILE)["marked"] == 24
    clean_names = [record.name for record in large.whole(many.data).records("train")]
    after = list(packed.records("train"))
    assert [record.name for record in after] == clean_names
    assert [record.label for record in after] == before["train"].labels.tolist()
    same = [
        torch.equal(torch.from_numpy(decode(r.data).copy()), image[0])
        for r, image in zip(after, before["train"].images, strict=True)
    ]
    assert {number for number, unchanged in enumerate(same) if not unchanged} == chosen
    assert len(list(packed.records("test"))) == len(before["test"].labels)
    assert len({len(record.data) for record in after}) == 1
    private = [root.path / "private", *(root.path / "private").rglob("*"), root.state]
    assert [path for path in private if path.stat().st_mode & 0o077] == []


def test_another_secret_or_another_dataset_is_another_plan(copy: Path, many: Config, tmp_path: Path) -> None:
    """Also where names and counts of the dataset stay."""
    out, files = made(copy, many)
    other, changed = made(copy, replace(many, seed=many.seed + 1))
    assert other != out
    assert changed != files
    assert many.data.path is not None
    data = Path(shutil.copytree(many.data.path, tmp_path / "data"))
    moved = replace(many, data=replace(many.data, path=str(data)))
    first, _ = large.plan(Root(copy), moved)
    train = data / "train.parquet"
    os.utime(train, (0, 0))
    assert large.plan(Root(copy), moved)[0] != first


def test_another_key_in_the_same_file_is_another_plan(copy: Path, many: Config, tmp_path: Path) -> None:
    """Shards of one plan must not be marked with two keys' random numbers."""
    plans = []
    for key in (bytes(32), bytes(31) + b"1"):
        (tmp_path / "release.key").write_bytes(key)
        plans.append(large.plan(Root(copy), replace(many, key_file=str(tmp_path / "release.key")))[0])
    assert plans[0] != plans[1]


def test_paths_are_the_checkouts_wherever_a_worker_starts(
    copy: Path, many: Config, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    assert many.data.path is not None
    shutil.copytree(many.data.path, copy.parent / "data")
    (copy.parent / "release.key").write_bytes(bytes(32))
    relative = replace(many, key_file="release.key", data=replace(many.data, path="data"))
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path / "elsewhere")
    out, _ = large.plan(Root(copy), relative)
    assert large.mark(out, 0).size > 0


def test_bad_images_and_missing_plans_are_named(copy: Path, many: Config, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json: no such file"):
        large.mark(Root(copy / "nothing"), 0)
    with writing(tmp_path / "bad", "parquet", ("across", "down", "square"), {}) as writer:
        for split in ("train", "test"):
            for number in range(60):
                pixels = np.zeros((28, 29 if (split, number) == ("train", 41) else 28), np.uint8)
                writer.write(split, Record(f"{number}.png", encode_png(pixels), number % 3))
    config = replace(many, data=replace(many.data, path=str(tmp_path / "bad")))
    out, _ = large.plan(Root(copy), config)
    with pytest.raises(InputError, match=r"train/41\.png: 29x28 px, expected 28x28; mend or remove the image"):
        large.mark(out, 1)
    assert not list(out.path.rglob("*00001*"))
    fewer = replace(config, data=replace(config.data, classes=2))
    with pytest.raises(InputError, match="other classes than the dataset"):
        large.plan(Root(copy), fewer)


def test_a_bad_image_that_would_be_marked_is_named(copy: Path, many: Config, tmp_path: Path) -> None:
    """Every image of one of the marked classes is damaged or of another size."""
    target = read_json(Root(copy).watermark / SECRET_FILE)["targets"][0]
    for number, kind in enumerate((b"damaged", encode_png(np.zeros((28, 29), np.uint8)))):
        folder = tmp_path / f"bad-{number}"
        with writing(folder, "parquet", ("across", "down", "square"), {}) as writer:
            for split in ("train", "test"):
                for image in range(60):
                    good = encode_png(np.full((28, 28), image, np.uint8))
                    data = kind if split == "train" and image % 3 == target else good
                    writer.write(split, Record(f"{image}.png", data, image % 3))
        out, _ = large.plan(Root(copy), replace(many, data=replace(many.data, path=str(folder))))
        reason = (r"damaged or not an image", r"1x29x28 \(channels, px\), expected 1x28x28")[number]
        with pytest.raises(InputError, match=rf"^\d+\.png: {reason}.*; mend or remove the image"):
            large.mark(out, 0)


def test_labels_are_checked_before_anything_is_written(copy: Path, many: Config, tmp_path: Path) -> None:
    with writing(tmp_path / "bad", "parquet", ("across", "down", "square"), {}) as writer:
        for split in ("train", "test"):
            for number in range(60):
                label = 7 if (split, number) == ("test", 41) else number % 3
                writer.write(split, Record(f"{number}.png", encode_png(np.zeros((28, 28), np.uint8)), label))
    with pytest.raises(InputError, match=r"test: label 7 of image 41, expected 0 to 2; mend or remove 1 images"):
        large.plan(Root(copy), replace(many, data=replace(many.data, path=str(tmp_path / "bad"))))


def test_images_are_resized_as_the_samples_were(copy: Path, many: Config, tmp_path: Path) -> None:
    with writing(tmp_path / "large", "parquet", ("across", "down", "square"), {}) as writer:
        for split in ("train", "test"):
            for number in range(60):
                pixels = np.random.default_rng(number).integers(0, 256, (40, 40), np.uint8)
                writer.write(split, Record(f"{number}.png", encode_png(pixels), number % 3))
    config = replace(many, data=replace(many.data, path=str(tmp_path / "large"), image_size=28))
    out, files = made(copy, config)
    large.assemble(out, files)
    (first, *_) = ParquetDataset(out.packed).records("test")
    expected = resize(np.random.default_rng(0).integers(0, 256, (40, 40), np.uint8), 28)
    assert np.array_equal(decode(first.data), expected)


@pytest.mark.parametrize("images", [1, 7, 60, 61, 1000])
def test_shards_cover_every_image_once(images: int) -> None:
    shards = shards_of({"train": 60, "test": 7}, images)
    for split, count in (("train", 60), ("test", 7)):
        covered = [n for shard in shards if shard.split == split for n in range(shard.start, shard.stop)]
        assert covered == list(range(count))
    assert len({shard.stem for shard in shards}) == len(shards)


@pytest.mark.parametrize(("start", "stop"), [(0, 5), (995, 1005), (1000, 2000), (2040, 2050), (1, 2049), (7, 7)])
def test_a_part_of_a_parquet_dataset(start: int, stop: int, tmp_path: Path) -> None:
    """Across row groups of 1,000 and files."""
    for number in (0, 1):
        with writing(tmp_path, "parquet", ("a",), {}) as writer:
            for row in range(1025):
                writer.write(f"train-{number}", Record(f"{number}-{row}", bytes([row % 256]), 0))
    (tmp_path / "test.parquet").write_bytes((tmp_path / "train-0.parquet").read_bytes())
    dataset = ParquetDataset(tmp_path)
    assert list(dataset.part("train", start, stop)) == list(dataset.records("train"))[start:stop]


def test_a_shard_is_written_whole_or_not_at_all(tmp_path: Path) -> None:
    card = Card("d", "parquet", ("a",), 1, 4, {"train": 2, "test": 1}, {})
    buffer = io.BytesIO()
    Image.new("L", (4, 4)).save(buffer, "PNG")

    def broken() -> object:
        yield Record("0", buffer.getvalue(), 0)
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        write_shard(shards_of(card.counts, 2)[0], broken(), card, tmp_path)  # type: ignore[arg-type]
    assert [path for path in tmp_path.rglob("*") if path.is_file()] == []
