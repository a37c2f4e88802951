"""Paired tests, the published one among them: one file each, found by name."""

from sscl.statistics.paired.base import TESTS, VerificationTest

__all__ = ["TESTS", "VerificationTest"]
