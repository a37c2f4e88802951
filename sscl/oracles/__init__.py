"""Oracles: suspicious models that can only be queried, one file each, found by what a suspect's address looks like."""

from sscl.oracles.base import ORACLES, Context, Oracle, nhwc, open_oracle

__all__ = ["ORACLES", "Context", "Oracle", "nhwc", "open_oracle"]
