"""Marks that a dishonest owner makes against models in general: one file each, found by name."""

from sscl.attacks.forgeries.base import FORGERIES, Forgery

__all__ = ["FORGERIES", "Forgery"]
