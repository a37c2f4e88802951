"""Image folder: ``train/<class>/<file>`` and ``test/<class>/<file>``, classes in name order."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path

from sscl.data.base import SPLITS, Dataset, Format, Record, Writer, file_of
from sscl.data.formats import FORMATS
from sscl.data.listing import files_under
from sscl.errors import InputError, printable

# What systems leave in folders. Every other file is an image, or is refused by name.
LEFT_BEHIND = {"Thumbs.db", "desktop.ini", "__MACOSX", "Icon\r"}


class ImageFolder(Dataset):
    """torchvision's ``ImageFolder`` layout, once per split (``val`` or ``validation`` may stand for ``test``).

    Raises:
        InputError: a split or its class folders are missing, or the test split has a class that training has not.
    """

    format = "image_folder"

    def __init__(self, folder: Path) -> None:
        self._folders = {split: _split_folder(folder, split) for split in SPLITS}
        self._counts: dict[str, list[int]] = {}  # of files in each class, by split, once they were counted
        self.class_names = tuple(sorted(_classes(self._folders["train"])))
        if not self.class_names:
            raise InputError(f"{self._folders['train']}: no class folders; expected train/<class>/<image>")
        extra = _classes(self._folders["test"]) - set(self.class_names)
        if extra:
            raise InputError(f"{self._folders['test']}: class {sorted(extra)[0]!r} is not in train/; remove or add it")

    def count(self, split: str) -> int:
        return sum(self._sizes(split))

    def records(self, split: str) -> Iterator[Record]:
        return self.part(split, 0, sys.maxsize)

    def part(self, split: str, start: int, stop: int) -> Iterator[Record]:
        number = 0  # of the class's first file
        for label, (name, size) in enumerate(zip(self.class_names, self._sizes(split), strict=True)):
            if number >= stop:
                return
            if number + size > start:
                for path in _files(self._folders[split] / name)[max(0, start - number) : stop - number]:
                    data, problem = file_of(path)
                    yield Record(_named(os.path.relpath(path, self._folders[split])), data, label, problem)
            number += size

    def labels(self, split: str) -> Iterator[int]:
        return (label for label, size in enumerate(self._sizes(split)) for _ in range(size))

    def _sizes(self, split: str) -> list[int]:
        """How many files each class has."""
        if split not in self._counts:
            self._counts[split] = [len(_files(self._folders[split] / name)) for name in self.class_names]
        return self._counts[split]


def _classes(folder: Path) -> set[str]:
    """The names of the class folders; raises ``InputError`` for a file that is in none."""
    stray = next((path for path in sorted(folder.iterdir()) if path.is_file() and not _left_behind(path.name)), None)
    if stray:
        raise InputError(f"{stray}: in no class folder; move it into one, or remove it")
    return {path.name for path in folder.iterdir() if path.is_dir() and not _left_behind(path.name)}


def _left_behind(name: str) -> bool:
    return name.startswith(".") or name in LEFT_BEHIND


def _files(folder: Path) -> list[Path]:
    """In name order, without what systems leave behind."""
    return sorted(files_under(folder, _left_behind, _unreadable), key=os.fsencode)


def _unreadable(error: OSError) -> None:
    raise InputError(f"{error.filename}: {error.strerror}; expected a folder that can be read")


def _named(path: str) -> str:
    """A name that can be written as UTF-8; bytes that are not stand as %E9."""
    return re.sub("[\udc80-\udcff]", lambda byte: f"%{ord(byte[0]) - 0xDC00:02X}", path)


class ImageFolderWriter(Writer):
    """Writes each record to ``<split>/<name>``; of another class, it goes into that class's folder whole."""

    def __init__(self, folder: Path, class_names: tuple[str, ...], layout: Mapping[str, str]) -> None:
        self._folder, self._class_names = folder, class_names

    def write(self, split: str, record: Record) -> None:
        own, name = self._class_names[record.label], Path(record.name)
        path = self._folder / split / own / (name.relative_to(own) if name.is_relative_to(own) else name)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with open(path, "xb") as file:
                file.write(record.data)
        except (FileExistsError, NotADirectoryError):
            raise InputError(
                f"{split}/{printable(record.name)}: another image has this name (one that becomes a PNG file gets .png "
                "at its end, and a byte that is no UTF-8 stands as %E9); rename one"
            ) from None

    def close(self) -> None:
        """Nothing to complete: every file is."""


def _split_folder(folder: Path, split: str) -> Path:
    for name in (split, "val", "validation") if split == "test" else (split,):
        if (folder / name).is_dir():
            return folder / name
    raise InputError(f"{folder}: no folder {split}/ there; expected train/<class>/<image> and test/<class>/<image>")


FORMATS.register("image_folder")(Format(ImageFolder, ImageFolderWriter))
