"""Classifiers and the watermark generator, for small images."""

from sscl.models.base import CLASSIFIERS, Classifier, build

__all__ = ["CLASSIFIERS", "Classifier", "build"]
