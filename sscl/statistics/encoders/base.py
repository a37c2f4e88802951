"""What a published test of an encoder is given: the answers of a suspect, and of a clean encoder of the owner's."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np

from sscl.registry import Registry

SUBSETS = 999  # of clean answers that marked ones are ranked among


@dataclass(frozen=True)
class EncoderAnswers:
    """Features, probabilities or one-hot labels, float64.

    Attributes:
        clean: (N, D), to images without a mark.
        marked: (M, D), to images under the owner's marks; ``M <= N``.
        released, unseen: (R, V, D) and (S, V, D), to ``V`` random views of images that were and were not released.
        own_released, own_unseen: what an encoder of the owner's that never saw the release answers to these.
    """

    clean: np.ndarray
    marked: np.ndarray
    released: np.ndarray
    unseen: np.ndarray
    own_released: np.ndarray
    own_unseen: np.ndarray


@dataclass(frozen=True)
class EncoderTest:
    """A published test.

    Attributes:
        p_value: of the answers, with random numbers; what the test claims.
        reads: whether it is given an encoder's ``features``, the ``labels`` of a classifier on it, or, one after the
            other, both.
    """

    p_value: Callable[[EncoderAnswers, np.random.Generator], float]
    reads: tuple[Literal["features", "labels"], ...] = ("features",)


ENCODER_TESTS: Registry[EncoderTest] = Registry("test of encoders", "sscl.statistics.encoders", base=EncoderTest)


def rank_among_subsets(
    answers: EncoderAnswers, score: Callable[[np.ndarray], float], rng: np.random.Generator
) -> float:
    """Share of random subsets of the clean answers, as large as the marked ones, that score as high; never 0.

    Subsets of one set vary less than fresh images do, so the level holds only where clean answers are many more than
    marked ones: with twice as many, 16 of 100 encoders that make no difference are below 0.05.
    """
    observed, count = score(answers.marked), len(answers.marked)
    subsets = (answers.clean[rng.permutation(len(answers.clean))[:count]] for _ in range(SUBSETS))
    return (1 + sum(score(subset) >= observed for subset in subsets)) / (1 + SUBSETS)


def unit(rows: np.ndarray) -> np.ndarray:
    """Vectors (..., D) at length one; those of zeros stay."""
    length = np.linalg.norm(rows, axis=-1, keepdims=True)
    found: np.ndarray = np.divide(rows, length, out=np.zeros_like(rows), where=length > 0)
    return found
