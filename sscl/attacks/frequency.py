"""Frequency detector (Zeng et al. 2021): a classifier of DCT spectra, trained on artificial triggers."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
from scipy.fft import dctn
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from sscl import seeds
from sscl.attacks.base import DETECTORS, Attacker, Detector
from sscl.data.codec import decode, encode_like, to_pixels, to_tensor
from sscl.data.spread import spread
from sscl.models import Classifier
from sscl.types import ImageSet

MOST = 4000  # clean images that triggers are put on
BATCH = 500


def spectrum(pixels: np.ndarray) -> np.ndarray:
    """uint8 (N, C, H, W) to log DCT magnitudes of the mean over channels, float32 (N, H W)."""
    grey = pixels.mean(axis=1) / 255
    found = np.log1p(np.abs(dctn(grey, axes=(1, 2), norm="ortho")))
    return np.asarray(found.reshape(len(pixels), -1), dtype=np.float32)


def _white_block(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side, size = int(rng.integers(2, 6)), x.shape[-1]
    row, column = rng.integers(0, size - side + 1, 2)
    x[:, row : row + side, column : column + side] = 255
    return x


def _random_block(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    side, size = int(rng.integers(2, 6)), x.shape[-1]
    row, column = rng.integers(0, size - side + 1, 2)
    x[:, row : row + side, column : column + side] = rng.integers(0, 256, (len(x), side, side))
    return x


def _noise(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return x + rng.normal(0, rng.uniform(5, 30), x.shape)


def _blend(x: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    share = rng.uniform(0.05, 0.3)
    return (1 - share) * x + share * rng.integers(0, 256, x.shape)


TRIGGERS: list[Callable[[np.ndarray, np.random.Generator], np.ndarray]] = [_white_block, _random_block, _noise, _blend]


class Frequency(Detector):
    """Logistic regression where the authors have a small CNN; their triggers but the shadow. It never sees ours.

    Triggers go through the released files' encoder, as real ones do.
    """

    looks_at = "dataset"

    def score(self, images: ImageSet, model: Classifier, attacker: Attacker) -> np.ndarray:
        rng = np.random.default_rng(seeds.derive(attacker.seed, "frequency"))
        clean = attacker.clean.images[spread(len(attacker.clean), MOST)].numpy()
        kinds = rng.integers(0, len(TRIGGERS), len(clean))
        marked = [TRIGGERS[kind](x.astype(np.float64), rng) for kind, x in zip(kinds, clean, strict=True)]
        pixels = np.clip(marked, 0, 255).astype(np.uint8)
        pixels = np.stack([_encoded(image, attacker.file) for image in pixels])
        both = np.concatenate((spectrum(clean), spectrum(pixels)))
        known = np.repeat((0, 1), len(clean))
        fitted = make_pipeline(StandardScaler(), LogisticRegression(C=0.01, max_iter=500)).fit(both, known)
        parts = torch.split(images.images, BATCH)
        return np.concatenate([fitted.decision_function(spectrum(part.numpy())) for part in parts])


def _encoded(image: np.ndarray, like: bytes) -> np.ndarray:
    """(C, H, W) through the encoder of a file."""
    return to_tensor(decode(encode_like(to_pixels(torch.from_numpy(image)), like)), len(image)).numpy()


DETECTORS.register("frequency")(Frequency())
