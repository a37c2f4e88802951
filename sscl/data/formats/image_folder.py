"""Image folder: ``train/<class>/<file>`` and ``test/<class>/<file>``, classes in name order."""

from __future__ import annotations

import sys
from collections.abc import Iterator, Mapping
from itertools import islice
from pathlib import Path

from sscl.data.base import SPLITS, Dataset, Format, Record, Writer
from sscl.data.formats import FORMATS
from sscl.errors import InputError

SUFFIXES = {".png", ".jpg", ".jpeg", ".bmp"}


class ImageFolder(Dataset):
    """torchvision's ``ImageFolder`` layout, once per split (``val`` or ``validation`` may stand for ``test``).

    Raises:
        InputError: a split or its class folders are missing, or the test split has a class that training has not.
    """

    format = "image_folder"

    def __init__(self, folder: Path) -> None:
        self._folders = {split: _split_folder(folder, split) for split in SPLITS}
        self.class_names = tuple(sorted(p.name for p in self._folders["train"].iterdir() if p.is_dir()))
        if not self.class_names:
            raise InputError(f"{self._folders['train']}: no class folders; expected train/<class>/<image>")
        extra = {p.name for p in self._folders["test"].iterdir() if p.is_dir()} - set(self.class_names)
        if extra:
            raise InputError(f"{self._folders['test']}: class {sorted(extra)[0]!r} is not in train/; remove or add it")

    def count(self, split: str) -> int:
        return sum(1 for _ in self._paths(split))

    def records(self, split: str) -> Iterator[Record]:
        return self.part(split, 0, sys.maxsize)

    def part(self, split: str, start: int, stop: int) -> Iterator[Record]:
        for label, path in islice(self._paths(split), start, stop):
            yield Record(path.relative_to(self._folders[split]).as_posix(), path.read_bytes(), label)

    def labels(self, split: str) -> Iterator[int]:
        return (label for label, _ in self._paths(split))

    def _paths(self, split: str) -> Iterator[tuple[int, Path]]:
        for label, name in enumerate(self.class_names):
            for path in sorted((self._folders[split] / name).glob("**/*")):
                if path.suffix.lower() in SUFFIXES:
                    yield label, path


class ImageFolderWriter(Writer):
    """Writes each record to ``<split>/<name>``; a name outside its class folder is put there."""

    def __init__(self, folder: Path, class_names: tuple[str, ...], layout: Mapping[str, str]) -> None:
        self._folder, self._class_names = folder, class_names

    def write(self, split: str, record: Record) -> None:
        folder = self._folder / split / self._class_names[record.label]
        path = folder / Path(record.name).relative_to(self._class_names[record.label])
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(record.data)

    def close(self) -> None:
        """Nothing to complete: every file is."""


def _split_folder(folder: Path, split: str) -> Path:
    for name in (split, "val", "validation") if split == "test" else (split,):
        if (folder / name).is_dir():
            return folder / name
    raise InputError(f"{folder}: no folder {split}/ there; expected train/<class>/<image> and test/<class>/<image>")


FORMATS.register("image_folder")(Format(ImageFolder, ImageFolderWriter))
