"""What whoever answers with features may do to them first: one file each, found by name."""

from sscl.encoders.outputs.base import OUTPUTS, OutputChange

__all__ = ["OUTPUTS", "OutputChange"]
