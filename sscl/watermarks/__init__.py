"""Watermark methods: one file each, found by name."""

from sscl.watermarks.base import WATERMARKS, SingleTarget, State, Watermark, create

__all__ = ["WATERMARKS", "SingleTarget", "State", "Watermark", "create"]
