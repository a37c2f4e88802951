"""A release's list of files."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from sscl.artifacts import SHA256, digest

DATA, COMMITMENTS = "data", "commitment"  # folders of the shards, and of the commitment with its time stamp

MOST_BYTES = 1 << 50  # of a file


@dataclass(frozen=True)
class File:
    """One file of a release: relative path, bytes, SHA-256."""

    path: str
    size: int
    sha256: str

    def __post_init__(self) -> None:
        """Raises ``ValueError`` for what a stranger's manifest may say instead."""
        right = isinstance(self.path, str) and type(self.size) is int and 0 <= self.size < MOST_BYTES
        if not right or not isinstance(self.sha256, str) or not SHA256.fullmatch(self.sha256):
            raise ValueError("a file is a path, a number of bytes and a SHA-256")


def files_of(folder: Path) -> list[File]:
    """Every file under a folder, in a list's order."""
    return in_order(file_of(folder, path) for path in folder.rglob("*") if path.is_file())


def file_of(folder: Path, path: Path) -> File:
    """A file under a folder, which is read for its digest."""
    return File(path.relative_to(folder).as_posix(), path.stat().st_size, digest(path))


def in_order(files: Iterable[File]) -> list[File]:
    """As a list has them: by path."""
    return sorted(files, key=lambda file: file.path)
