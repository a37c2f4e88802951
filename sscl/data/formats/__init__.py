"""Layouts on disk: one file each, found by name."""

from sscl.data.base import Format
from sscl.registry import Registry

FORMATS: Registry[Format] = Registry("dataset format", "sscl.data.formats", base=Format)
