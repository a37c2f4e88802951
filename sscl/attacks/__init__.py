"""Attacks on watermarks: removal from a model, detection in a dataset or a query. One file each."""

from sscl.attacks.base import DETECTORS, REMOVALS, Attacker, Detector, Removal

__all__ = ["DETECTORS", "REMOVALS", "Attacker", "Detector", "Removal"]
