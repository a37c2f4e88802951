"""Parquet in the Hugging Face layout: an image column of struct(bytes, path) and an integer label column."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from sscl.data.base import SPLITS, Dataset, Format, Record, Writer
from sscl.data.formats import FORMATS
from sscl.errors import InputError

ROWS = 1000  # rows in memory at a time, and per row group
IMAGE_COLUMNS = ("image", "img")
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
        schema = self._files["train"][0].schema
        self.layout = {
            "image": _column(folder, schema, IMAGE_COLUMNS),
            "label": _column(folder, schema, LABEL_COLUMNS),
        }
        self.class_names = _class_names(schema, self.layout["label"]) or self._numbered()

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
                        yield from self._group(opened, group, split, number, start, stop)
                    number += rows

    def _group(
        self, file: pq.ParquetFile, group: int, split: str, number: int, start: int, stop: int
    ) -> Iterator[Record]:
        """What of a row group, whose first row is the split's ``number``-th, is between ``start`` and ``stop``."""
        image, label = self.layout["image"], self.layout["label"]
        for batch in file.iter_batches(ROWS, [group], [image, label]):
            first = min(max(0, start - number), len(batch))
            wanted = batch.slice(first, max(0, stop - number - first))
            pairs = zip(wanted[image].to_pylist(), wanted[label].to_pylist(), strict=True)
            for position, (picture, index) in enumerate(pairs, start=number + first):
                picture = picture or {}
                name = picture.get("path") or f"{split}-{position:08d}"
                yield Record(name, picture.get("bytes") or b"", -1 if index is None else int(index))
            number += len(batch)

    def labels(self, split: str) -> Iterator[int]:
        for file in self._files[split]:
            with _open(file.path) as opened:
                for batch in opened.iter_batches(ROWS * 64, columns=[self.layout["label"]]):
                    yield from batch[0].to_pylist()

    def _numbered(self) -> tuple[str, ...]:
        """Class names of a file that has none: the label numbers."""
        highest = max(
            _open(file.path).read([self.layout["label"]])[0].to_numpy().max(initial=0) for file in self._files["train"]
        )
        return tuple(str(i) for i in range(int(highest) + 1))


class ParquetWriter(Writer):
    """``train.parquet`` and ``test.parquet`` with row groups of 1,000."""

    def __init__(self, folder: Path, class_names: tuple[str, ...], layout: Mapping[str, str]) -> None:
        self._folder = folder
        image, label = layout.get("image", "image"), layout.get("label", "label")
        struct = pa.struct([("bytes", pa.binary()), ("path", pa.string())])
        metadata = {"class_names": json.dumps(class_names)}
        self._schema = pa.schema([(image, struct), (label, pa.int64())], metadata=metadata)
        self._writers: dict[str, pq.ParquetWriter] = {}
        self._pending: dict[str, list[Record]] = {}

    def write(self, split: str, record: Record) -> None:
        pending = self._pending.setdefault(split, [])
        pending.append(record)
        if len(pending) == ROWS:
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
        if split not in self._writers:
            path = self._folder / f"{split}.parquet"
            self._writers[split] = pq.ParquetWriter(path, self._schema, compression="zstd")
        pictures = [{"bytes": r.data, "path": r.name} for r in records]
        columns = [pa.array(pictures, self._schema.field(0).type), pa.array([r.label for r in records], pa.int64())]
        self._writers[split].write_table(pa.Table.from_arrays(columns, schema=self._schema))


def _shards(folder: Path, split: str) -> list[Path]:
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; data.path must hold train*.parquet and test*.parquet")
    for name in (split, "validation") if split == "test" else (split,):
        found = sorted([*folder.glob(f"{name}*.parquet"), *folder.glob(f"data/{name}*.parquet")])
        if found:
            return found
    raise InputError(f"{folder}: no {split}*.parquet there; expected train*.parquet and test*.parquet")


def _open(path: Path) -> pq.ParquetFile:
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


def _class_names(schema: pa.Schema, label: str) -> tuple[str, ...] | None:
    metadata = schema.metadata or {}
    if b"class_names" in metadata:
        return tuple(json.loads(metadata[b"class_names"]))
    if b"huggingface" in metadata:
        features = json.loads(metadata[b"huggingface"]).get("info", {}).get("features", {})
        names = features.get(label, {}).get("names")
        return tuple(names) if names else None
    return None


FORMATS.register("parquet")(Format(ParquetDataset, ParquetWriter))
