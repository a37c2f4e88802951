"""What a thief tries with an encoder, so that its owner's marks are gone: one file each, found by name."""

from sscl.encoders.removals.base import REMOVALS, EncoderRemoval, Thief

__all__ = ["REMOVALS", "EncoderRemoval", "Thief"]
