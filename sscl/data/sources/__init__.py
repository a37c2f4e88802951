"""Where a dataset comes from: one file each, found by name."""

from collections.abc import Callable

from sscl.config import DataConfig
from sscl.data.base import Dataset
from sscl.registry import Registry

SOURCES: Registry[Callable[[DataConfig], Dataset]] = Registry("data source", "sscl.data.sources")
