"""Filters on all of a release, once, before the training: blur, median and wavelets are DATABench's (Shao et al. 2025).

The model never sees a mark as it was published, where ``training_filters`` leaves half of every batch as it is.
"""

from __future__ import annotations

from sscl import seeds
from sscl.attacks.base import REMOVALS, Attacker
from sscl.attacks.median import MedianTraining
from sscl.attacks.training_filters import BlurTraining, FilterTraining, JpegTraining, NoiseTraining, ResizeTraining
from sscl.attacks.wavelet import WaveletTraining
from sscl.models import Classifier
from sscl.train import Practice
from sscl.types import ImageSet


class ReleaseFilter(FilterTraining):
    """From scratch on the filtered release. A subclass names the training filter whose change and strengths it has."""

    def filtered(self, attacker: Attacker, strength: float) -> ImageSet:
        """The release with every image changed."""
        rng = seeds.generator(attacker.seed, "release filter")
        return attacker.rereleased(lambda x: self.change(x, strength, rng))

    def practice(self, strength: float) -> Practice:
        return Practice()  # the images are changed already

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return attacker.trained(self.filtered(attacker, strength), "filtered release", self.practice(strength))


class ReleaseJpeg(ReleaseFilter, JpegTraining):
    """All released images through the encoder."""


class ReleaseBlur(ReleaseFilter, BlurTraining):
    """All released images blurred."""


class ReleaseNoise(ReleaseFilter, NoiseTraining):
    """All released images under Gaussian noise, drawn once."""


class ReleaseResize(ReleaseFilter, ResizeTraining):
    """All released images made smaller and larger again."""


class ReleaseMedian(ReleaseFilter, MedianTraining):
    """All released images through a median filter."""


class ReleaseWavelet(ReleaseFilter, WaveletTraining):
    """All released images through wavelet shrinkage."""


REMOVALS.register("release_jpeg")(ReleaseJpeg())
REMOVALS.register("release_blur")(ReleaseBlur())
REMOVALS.register("release_noise")(ReleaseNoise())
REMOVALS.register("release_resize")(ReleaseResize())
REMOVALS.register("release_median")(ReleaseMedian())
REMOVALS.register("release_wavelet")(ReleaseWavelet())
