"""Parquet in the Hugging Face layout: an image column of struct(bytes, path) and an integer label column."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq

from sscl.data.base import SPLITS, Dataset, Format, Record, Writer, file_of
from sscl.data.formats import FORMATS
from sscl.errors import InputError
from sscl.foreign import regular

ROWS = 1000  # rows in a row group
HELD = 256 << 20  # bytes of files in a row group, about
AT_A_TIME = 32  # rows in memory: a stranger's few bytes may stand for a large value in each
IMAGE_COLUMNS = ("image", "img")
MOST_CLASSES = 100_000
LONGEST_LABEL = 1000  # characters
LABEL_COLUMNS = ("label", "fine_label", "labels")


@dataclass(frozen=True)
class _Rows:
    """A file, closed: a dataset may have more files than a process may hold open."""

    path: Path
    schema: pa.Schema
    groups: tuple[int, ...]  # rows in each

    @classmethod
    def of(cls, path: Path) -> _Rows:
        with _open(path) as file:
            rows = (file.metadata.row_group(group).num_rows for group in range(file.metadata.num_row_groups))
            return cls(path, file.schema_arrow, tuple(rows))


class ParquetDataset(Dataset):
    """A folder with ``train*.parquet`` and ``test*.parquet`` (or ``validation*``), shards in name order.

    Raises:
        InputError: no files, an empty or damaged file, or no image or label column.
    """

    format = "parquet"

    def __init__(self, folder: Path) -> None:
        self._files = {split: [_Rows.of(path) for path in _shards(folder, split)] for split in SPLITS}
        self._folder = folder
        schema = self._files["train"][0].schema
        self.layout = {
            "image": _column(folder, schema, IMAGE_COLUMNS),
            "label": _column(folder, schema, LABEL_COLUMNS),
        }
        self._text: dict[str, int] = {}  # labels that are names, and their index
        self.class_names = self._named() or self._numbered()

    def count(self, split: str) -> int:
        return sum(sum(file.groups) for file in self._files[split])

    def records(self, split: str) -> Iterator[Record]:
        return self.part(split, 0, self.count(split))

    def part(self, split: str, start: int, stop: int) -> Iterator[Record]:
        number = 0  # of the next row
        for file in self._files[split]:
            with ExitStack() as stack:
                opened = None
                for group, rows in enumerate(file.groups):
                    if number + rows > start and number < stop:
                        opened = opened or stack.enter_context(_open(file.path))
                        read = partial(_batches, file.path, opened, groups=[group])
                        yield from self._group(read, split, number=number, start=start, stop=stop)
                    number += rows

    def _group(
        self, read: Callable[..., Iterator[pa.RecordBatch]], split: str, *, number: int, start: int, stop: int
    ) -> Iterator[Record]:
        """What of a row group, whose first row is the split's ``number``-th, is between ``start`` and ``stop``."""
        image, label = self.layout["image"], self.layout["label"]
        for batch in read(rows=AT_A_TIME, columns=[image, label]):
            if number >= stop:
                return
            first = min(max(0, start - number), len(batch))
            wanted = batch.slice(first, max(0, stop - number - first))
            pairs = zip(wanted[image].to_pylist(), wanted[label].to_pylist(), strict=True)
            for position, (picture, value) in enumerate(pairs, start=number + first):
                yield self._record(picture, self._index(value), f"{split}-{position:08d}")
            number += len(batch)

    def _record(self, picture: Any, label: int, usual: str) -> Record:
        """One row: the image is a struct, or its bytes alone."""
        if isinstance(picture, bytes):
            return Record(usual, picture, label)
        entry = picture if isinstance(picture, dict) else {}
        path, content = entry.get("path"), entry.get("bytes")
        name = path if isinstance(path, str) and path else usual
        if content is not None or name == usual:
            return Record(name, content or b"", label)
        there = (self._folder / name).resolve()
        if not there.is_relative_to(self._folder.resolve()):
            return Record(usual, b"", label, "no bytes, and a path that is outside of the dataset's folder: embed it")
        data, problem = file_of(there)
        return Record(usual if problem else os.path.relpath(there, self._folder.resolve()), data, label, problem)

    def labels(self, split: str) -> Iterator[int]:
        return (self._index(value) for value in self._values(split))

    def _values(self, split: str) -> Iterator[Any]:
        for file in self._files[split]:
            with _open(file.path) as opened:
                for batch in _batches(file.path, opened, rows=ROWS, columns=[self.layout["label"]]):
                    yield from batch[0].to_pylist()

    def _index(self, value: Any) -> int:
        """A label as an index: a number, or a class's name; -1 for none, which is refused by row."""
        if isinstance(value, str):
            return self._text.get(value, -1)
        if isinstance(value, bool) or not isinstance(value, int | float) or value % 1 != 0:  # inf % 1 is NaN
            return -1
        return int(value) if -1 <= value < MOST_CLASSES else MOST_CLASSES

    def _named(self) -> tuple[str, ...]:
        """The class names in the files' metadata, or the labels that are names; none if there are neither.

        Raises:
            InputError: the files' names differ, or are no names.
        """
        schemas = [(file.path, file.schema) for split in SPLITS for file in self._files[split]]
        told = {path: _class_names(path, schema, self.layout["label"]) for path, schema in schemas}
        first = next(iter(told.values()))
        for path, names in told.items():
            if names != first:
                raise InputError(f"{path}: other class names than in the first file; make them the same")
        kind = schemas[0][1].field(self.layout["label"]).type
        if pa.types.is_dictionary(kind):
            kind = kind.value_type
        if pa.types.is_string(kind) or pa.types.is_large_string(kind):
            names = first or self._texts()
            if len(names) > MOST_CLASSES:
                raise InputError(f"{self._folder}: over {MOST_CLASSES:,} different labels; is it the label column?")
            self._text = {name: index for index, name in enumerate(names)}
            return names
        return first or ()

    def _texts(self) -> tuple[str, ...]:
        """The different labels of training images, or the first of them if there are too many."""
        found: set[str] = set()
        for value in self._values("train"):
            if value and len(value) > LONGEST_LABEL:
                raise InputError(f"{self._folder}: a label of {len(value):,} characters; is it the label column?")
            if value:
                found.add(value)
            if len(found) > MOST_CLASSES:
                break
        return tuple(sorted(found))

    def _numbered(self) -> tuple[str, ...]:
        """Class names of files that have none: the label numbers."""
        indices = {self._index(value) for value in self._values("train")} - {-1}
        if not indices or MOST_CLASSES in indices or min(indices) < 0:
            raise InputError(
                f"{self._folder}: column {self.layout['label']} has no labels from 0 on, or beyond {MOST_CLASSES:,}; "
                "number the classes from 0"
            )
        if 0 not in indices:
            raise InputError(
                f"{self._folder}: the labels begin at {min(indices)}, expected 0; number the classes from 0, or put "
                "their names into the files"
            )
        return tuple(str(number) for number in range(max(indices) + 1))


class ParquetWriter(Writer):
    """``train.parquet`` and ``test.parquet`` with row groups of 1,000; a layout without ``label`` leaves it out."""

    def __init__(self, folder: Path, class_names: tuple[str, ...], layout: Mapping[str, str]) -> None:
        self._folder = folder
        columns = layout or {"image": "image", "label": "label"}
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        fields = [(columns["image"], struct), *([(columns["label"], pa.int64())] if "label" in columns else [])]
        metadata = {"class_names": json.dumps(class_names)} if "label" in columns else None
        self._schema = pa.schema(fields, metadata=metadata)
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._pending: dict[str, list[Record]] = {}
        self._bytes: Counter[str] = Counter()  # of what is pending

    def write(self, split: str, record: Record) -> None:
        pending = self._pending.setdefault(split, [])
        pending.append(record)
        self._bytes[split] += len(record.data)
        if len(pending) == ROWS or self._bytes[split] >= HELD:
            self._flush(split)

    def close(self) -> None:
        try:
            for split in list(self._pending):
                self._flush(split)
            for writer in self._writers.values():
                writer.close()
        finally:
            for writer in self._writers.values():
                writer.is_open = False  # else pyarrow tries again, loudly, when the object is collected

    def _flush(self, split: str) -> None:
        records = self._pending.pop(split)
        del self._bytes[split]
        if split not in self._writers:
            path = self._folder / f"{split}.parquet"
            self._writers[split] = pq.ParquetWriter(path, self._schema, compression="zstd")
        pictures = [{"bytes": r.data, "path": r.name} for r in records]
        columns = [pa.array(pictures, self._schema.field(0).type), pa.array([r.label for r in records], pa.int64())]
        whole = pa.Table.from_arrays(columns[: len(self._schema)], schema=self._schema)
        self._writers[split].write_table(whole)


def _shards(folder: Path, split: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; data.path must hold train*.parquet and test*.parquet")
    for name in (split, "validation") if split == "test" else (split,):
        found = sorted([*folder.glob(f"{name}*.parquet"), *folder.glob(f"data/{name}*.parquet")])
        if found:
            return found
    raise InputError(f"{folder}: no {split}*.parquet there; expected train*.parquet and test*.parquet")


def _open(path: Path) -> pq.ParquetFile:
    regular(path, 1 << 50, "a parquet file")
    try:
        return pq.ParquetFile(path, pre_buffer=False)  # buffering ahead would hold the whole file
    except (pa.ArrowInvalid, OSError) as error:
        what = (
            "empty (zero bytes)"
            if path.stat().st_size == 0
            else f"not readable as parquet ({str(error).splitlines()[0]})"
        )
        raise InputError(f"{path}: {what}; download it again") from None


def _column(folder: Path, schema: pa.Schema, names: tuple[str, ...]) -> str:
    for name in names:
        if name in schema.names:
            return name
    raise InputError(f"{folder}: no column {' or '.join(names)}, only {', '.join(schema.names)}; rename it")


def _class_names(path: Path, schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    """What a file's metadata says; ``None`` if nothing.

    Raises:
        InputError: something that is no list of different names.
    """
    metadata = schema.metadata or {}
    try:
        if b"class_names" in metadata:
            names = json.loads(metadata[b"class_names"])
        elif b"huggingface" in metadata:
            features = json.loads(metadata[b"huggingface"]).get("info", {}).get("features", {})
            names = features.get(label, {}).get("names")
        else:
            names = None
    except (ValueError, AttributeError, RecursionError):
        raise InputError(f"{path}: its metadata about classes cannot be read; write the file again") from None
    if names is None:
        return None
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names) or len({*names}) != len(names):
        raise InputError(f"{path}: the class names in its metadata are not a list of different names; correct it")
    return tuple(names)


def _batches(
    path: Path, file: pq.ParquetFile, *, rows: int, columns: list[str], groups: list[int] | None = None
) -> Iterator[pa.RecordBatch]:
    """The rows of a file that is open; raises ``InputError`` where it is damaged."""
    try:
        yield from file.iter_batches(rows, groups, columns)
    except pa.ArrowMemoryError:
        raise InputError(
            f"{path}: {rows} of its rows need more memory than there is; write it with smaller ones"
        ) from None
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: damaged ({str(error).splitlines()[0]}); download it again") from None


FORMATS.register("parquet")(Format(ParquetDataset, ParquetWriter))
