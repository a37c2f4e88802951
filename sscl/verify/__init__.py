"""Ownership verification: statistical tests and the oracles that they query."""

from sscl.verify.base import TESTS, VerificationTest

__all__ = ["TESTS", "VerificationTest"]
