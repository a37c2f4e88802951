"""Published tests of encoders, for comparison: one file each, found by name. None has a known error rate."""

from sscl.statistics.encoders.base import ENCODER_TESTS, EncoderAnswers

__all__ = ["ENCODER_TESTS", "EncoderAnswers"]
