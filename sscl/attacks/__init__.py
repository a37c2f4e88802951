"""Attacks on watermarks: removal from a model; detection in a dataset, a query or a model. One file each."""

from sscl.attacks.base import (
    DETECTORS,
    INVERSIONS,
    REMOVALS,
    Attacker,
    Detector,
    Removal,
    TriggerInversion,
    known_clean,
    labelled_training,
)

__all__ = [
    "DETECTORS",
    "INVERSIONS",
    "REMOVALS",
    "Attacker",
    "Detector",
    "Removal",
    "TriggerInversion",
    "known_clean",
    "labelled_training",
]
