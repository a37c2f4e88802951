"""Watermark methods: one file each, found by name."""

from sscl.watermarks.base import WATERMARKS, State, Watermark, create

__all__ = ["WATERMARKS", "State", "Watermark", "create"]
