"""Families of marks: one file each, found by name."""

from sscl.ownership.marks.base import FAMILIES, Family

__all__ = ["FAMILIES", "Family"]
