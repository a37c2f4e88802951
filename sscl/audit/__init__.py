"""The audit of one suspicious model: exact tests over keys, and a verdict in plain words."""

from sscl.audit.base import KEY_TESTS, KeyTest

__all__ = ["KEY_TESTS", "KeyTest"]
