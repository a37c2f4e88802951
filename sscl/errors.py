"""Errors that a person reads: one line that names the thing, what was expected, and the remedy."""

from __future__ import annotations


class SSCLError(Exception):
    """Something failed while working (exit code 1)."""

    exit_code = 1


class InputError(SSCLError):
    """What the user gave cannot be used (exit code 2)."""

    exit_code = 2


class ConfigError(InputError):
    """A key or value of the configuration is wrong."""
