"""Suspects: models that can only be queried. One file a kind, found by what the address looks like."""

from sscl.suspects.base import ORACLES, Context, Oracle, open_oracle

__all__ = ["ORACLES", "Context", "Oracle", "open_oracle"]
