"""Datasets that lie at ``data.path`` in one of the registered formats."""

from __future__ import annotations

from pathlib import Path

from sscl.config import DataConfig
from sscl.data.base import Dataset
from sscl.data.formats import FORMATS
from sscl.data.sources import SOURCES
from sscl.errors import ConfigError, InputError


def _path(config: DataConfig) -> Path:
    if config.path is None:
        raise ConfigError(f"data.path: source {config.source!r} needs the folder of the dataset")
    path = Path(config.path).expanduser()
    if not path.is_absolute() and not path.exists():
        raise InputError(
            f"data.path: {path} is not in {Path.cwd()}; give an absolute path (`dvc exp run --temp` works in another "
            "folder)"
        )
    return path


@SOURCES.register("parquet")
def parquet(config: DataConfig) -> Dataset:
    """``train*.parquet`` and ``test*.parquet`` in the Hugging Face layout."""
    return FORMATS["parquet"].read(_path(config))


@SOURCES.register("image_folder")
def image_folder(config: DataConfig) -> Dataset:
    """``train/<class>/<file>`` and ``test/<class>/<file>``."""
    return FORMATS["image_folder"].read(_path(config))
