"""Families of marks: one file each, found by name."""

from sscl.watermarks.marks.base import FAMILIES, Family

__all__ = ["FAMILIES", "Family"]
