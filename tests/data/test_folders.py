"""Image folders as people have them: every image is used, or named with why not."""

from __future__ import annotations

import csv
import os
from dataclasses import replace
from pathlib import Path

import pytest
from PIL import Image

from sscl.data.codec import to_pixels
from sscl.data.formats import FORMATS
from sscl.data.store import Card, load_split
from sscl.errors import InputError
from sscl.stages import prepare
from tests.conftest import CLASSES, shapes
from tests.stages.test_prepare import section


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for split, data in (("train", shapes(30, 1, channels=3)), ("test", shapes(9, 2, channels=3))):
        for number, (image, label) in enumerate(zip(data.images, data.labels.tolist(), strict=True)):
            place = root / split / CLASSES[label]
            place.mkdir(parents=True, exist_ok=True)
            Image.fromarray(to_pixels(image)).save(place / f"{number:02d}.png")
    return root


def prepared(folder: Path, tmp_path: Path, **changes: int) -> Card:
    prepare.run(section(folder, "image_folder", **changes), 0, tmp_path / "out", tmp_path / "refused.csv")
    return Card.read(tmp_path / "out")


def refusal(folder: Path, tmp_path: Path) -> tuple[str, list[list[str]]]:
    with pytest.raises(InputError) as error:
        prepared(folder, tmp_path)
    return str(error.value), list(csv.reader((tmp_path / "refused.csv").read_text().splitlines()))[1:]


def test_images_of_another_class_than_their_folders_are_written_and_read(folder: Path, tmp_path: Path) -> None:
    """The defect: methods that change labels ended in a ValueError on folders of images."""
    source = FORMATS["image_folder"].read(folder)
    with FORMATS["image_folder"].write(tmp_path / "out", CLASSES, {}) as writer:
        for split in ("train", "test"):
            for record in source.records(split):
                writer.write(split, replace(record, label=(record.label + 1) % 3))
    again = FORMATS["image_folder"].read(tmp_path / "out")
    assert again.count("train") == 30
    assert {r.name: r.label for r in again.records("train")} == {
        f"{CLASSES[(r.label + 1) % 3]}/{r.name}": (r.label + 1) % 3 for r in source.records("train")
    }


@pytest.mark.parametrize("suffix", [".webp", ".ppm", ".tif", ".jfif", ".gif", ".PNG", ""])
def test_no_image_vanishes_because_of_its_suffix(suffix: str, folder: Path, tmp_path: Path) -> None:
    """The defect: half of a folder was gone without a line."""
    kinds = {".jfif": "JPEG", ".tif": "TIFF", ".PNG": "PNG", "": "PNG"}
    for path in sorted((folder / "train").rglob("*.png"))[::2]:
        Image.open(path).save(path.with_suffix(suffix), kinds.get(suffix, suffix[1:].upper()))
        path.unlink()
    card = prepared(folder, tmp_path)
    assert card.counts == {"train": 30, "test": 9}
    assert len(load_split(tmp_path / "out", "train")) == 30


def test_what_is_no_image_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "train/across/notes.txt").write_text("notes")
    said, rows = refusal(folder, tmp_path)
    assert "train/across/notes.txt: damaged or not an image" in said
    assert [row[:2] for row in rows] == [["train", "across/notes.txt"]]


def test_what_systems_leave_behind_is_no_image_and_no_class(folder: Path, tmp_path: Path) -> None:
    for split in ("train", "test"):
        (folder / split / ".DS_Store").write_bytes(b"Bud1")
        (folder / split / "across/Thumbs.db").write_bytes(b"x")
        (folder / split / "across/._00.png").write_bytes(b"x")
        (folder / split / "__MACOSX/across").mkdir(parents=True)
        (folder / split / "__MACOSX/across/._00.png").write_bytes(b"x")
        (folder / split / ".ipynb_checkpoints").mkdir()
    card = prepared(folder, tmp_path)
    assert (card.class_names, card.counts) == (CLASSES, {"train": 30, "test": 9})


def test_linked_folders_are_followed_and_circles_end(folder: Path, tmp_path: Path) -> None:
    far = tmp_path / "far"
    far.mkdir()
    for path in sorted((folder / "train/down").iterdir())[::2]:
        path.rename(far / path.name)
    (folder / "train/down/more").symlink_to(far)
    (far / "circle").symlink_to(folder / "train/down")
    assert prepared(folder, tmp_path).counts["train"] == 30


@pytest.mark.parametrize("kind", ["link to nothing", "pipe"])
def test_a_file_that_cannot_be_read_is_named(kind: str, folder: Path, tmp_path: Path) -> None:
    """The defect: "no permission to write there"."""
    path = folder / "train/across/00.png"
    path.unlink()
    if kind == "pipe":
        os.mkfifo(path)
    else:
        path.symlink_to("/nowhere/at/all")
    said, _ = refusal(folder, tmp_path)
    assert "train/across/00.png: cannot be read (" in said
    prepare.run(section(folder, "image_folder", "drop"), 0, tmp_path / "kept", tmp_path / "refused.csv")
    assert Card.read(tmp_path / "kept").counts["train"] == 29


def test_a_name_that_is_not_utf_8(folder: Path, tmp_path: Path) -> None:
    os.rename(os.fsencode(folder / "train/across/00.png"), os.fsencode(folder / "train/across") + b"/caf\xe9.png")
    assert prepared(folder, tmp_path).counts["train"] == 30
    names = {record.name for record in FORMATS["image_folder"].read(tmp_path / "out").records("train")}
    assert "across/caf%E9.png" in names


@pytest.mark.parametrize("there", ["x.gif.png", "x.gif.png/y.png"])
def test_two_images_of_one_name_are_named(there: str, folder: Path, tmp_path: Path) -> None:
    """The defect: one of them vanished, and no later stage could read the set."""
    images = sorted((folder / "train/across").glob("*.png"))
    Image.open(images[0]).save(folder / "train/across/x.gif")
    (folder / "train/across" / there).parent.mkdir(exist_ok=True)
    images[1].rename(folder / "train/across" / there)
    with pytest.raises(InputError, match=r"train/across/x\.gif.*: another image has this name .*; rename one"):
        prepared(folder, tmp_path)


def test_a_class_that_cannot_be_shown_is_renamed_first(folder: Path, tmp_path: Path) -> None:
    """Its name goes into the dataset's published card."""
    for split in ("train", "test"):
        (folder / split / "across").rename(folder / split / "across\n# A heading")
    with pytest.raises(InputError, match=r"class 'across # A heading' has characters that cannot be shown"):
        prepared(folder, tmp_path)


def test_the_odd_image_is_named_and_not_all_others(folder: Path, tmp_path: Path) -> None:
    first = sorted((folder / "test").rglob("*.png"))[0]
    Image.new("RGB", (32, 32)).save(first)
    said, rows = refusal(folder, tmp_path)
    assert "32x32 px, expected 28x28" in said
    assert len(rows) == 1


def test_tiny_images_name_the_limit(folder: Path, tmp_path: Path) -> None:
    for path in folder.rglob("*.png"):
        Image.open(path).resize((8, 8)).save(path)
    with pytest.raises(InputError, match=r"8 px images; set data\.image_size to 16 or more"):
        prepared(folder, tmp_path)
    assert prepared(folder, tmp_path, image_size=16).size == 16


def test_a_file_in_no_class_folder_is_named(folder: Path, tmp_path: Path) -> None:
    (folder / "train/stray.png").write_bytes(b"x")
    with pytest.raises(InputError, match=r"stray\.png: in no class folder; move it into one, or remove it"):
        prepared(folder, tmp_path)


def test_a_relative_path_from_elsewhere_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """`dvc exp run --temp` works in a copy, in which the data is not."""
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"data\.path: here is not in .*; give an absolute path"):
        prepared(Path("here"), tmp_path)


def test_a_tilde_is_the_home_folder(folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    assert prepared(Path("~/source"), tmp_path).counts["train"] == 30
