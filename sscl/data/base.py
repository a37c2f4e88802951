"""What a dataset is to the pipeline: named, encoded images with labels, read and written as a stream."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from types import TracebackType

from sscl.errors import InputError
from sscl.foreign import content_of

SPLITS = ("train", "test")
LARGEST = 1 << 28  # bytes of an image file


@dataclass(frozen=True)
class Record:
    """One encoded image.

    Attributes:
        name: unique in its split, a relative path.
        data: the file's bytes.
        label: index of its class; -1 for none.
        problem: why it cannot be read; ``None`` if it can.
    """

    name: str
    data: bytes
    label: int
    problem: str | None = None


def file_of(path: Path) -> tuple[bytes, str | None]:
    """An image file's bytes, or why it cannot be read, as ``Record`` has them."""
    try:
        return content_of(path, LARGEST, "an image"), None
    except InputError as error:
        return b"", f"cannot be read ({str(error).partition(': ')[2]})"


class Dataset(ABC):
    """A labelled image dataset with a train and a test split.

    Attributes:
        class_names: one name per class.
        format: registered format that keeps its layout when it is written.
        layout: what a writer of that format needs to know to keep names (column names of a parquet file).
        pinned: known content digests by split, for published datasets.
    """

    class_names: tuple[str, ...]
    format: str
    layout: Mapping[str, str] = {}
    pinned: Mapping[str, str] = {}

    @abstractmethod
    def count(self, split: str) -> int:
        """Number of images in the split."""

    @abstractmethod
    def records(self, split: str) -> Iterator[Record]:
        """The split's images in order, a few at a time in memory."""

    def part(self, split: str, start: int, stop: int) -> Iterator[Record]:
        """The images ``start`` to ``stop`` (exclusive) of ``records``; formats that can skip the others do."""
        return islice(self.records(split), start, stop)

    @abstractmethod
    def labels(self, split: str) -> Iterator[int]:
        """The labels of ``records`` in the same order, without reading the images."""


class Writer(ABC):
    """Writes records as a stream; a context manager that completes the files on exit."""

    @abstractmethod
    def write(self, split: str, record: Record) -> None:
        """Append one image."""

    @abstractmethod
    def close(self) -> None:
        """Complete the files."""

    def __enter__(self) -> Writer:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, value: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


@dataclass(frozen=True)
class Format:
    """A layout on disk: how to read it and how to write it."""

    read: Callable[[Path], Dataset]
    write: Callable[[Path, tuple[str, ...], Mapping[str, str]], Writer]
