"""What a verification test is: responses to benign and marked images in, a verdict out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import final

import numpy as np

from sscl.registry import Registry
from sscl.types import Responses, Verdict


class VerificationTest(ABC):
    """A statistical test of "this model was trained on my dataset".

    Args:
        tau: the margin that the watermark's effect must exceed, a difference of probabilities.
        alpha: significance level.
    """

    name: str

    def __init__(self, tau: float, alpha: float) -> None:
        self.tau, self.alpha = tau, alpha

    @abstractmethod
    def statistic(self, benign: np.ndarray, marked: np.ndarray) -> tuple[float, float]:
        """Test statistic and p-value from the target class's probabilities, float64 (N,) each, paired by image."""

    @final
    def run(self, benign: Responses, marked: Responses, target_class: int) -> Verdict:
        """Test one model's responses to the same images without and with the mark.

        Raises:
            ValueError: the responses are not paired, or fewer than two.
        """
        if benign.probabilities.shape != marked.probabilities.shape or len(benign) < 2:
            raise ValueError("benign and marked responses must be to the same images, at least two")
        p_b = benign.probabilities[:, target_class]
        p_w = marked.probabilities[:, target_class]
        statistic, p_value = self.statistic(p_b, p_w)
        return Verdict(
            test=self.name,
            delta_p=float((p_w - p_b).mean()),
            wsr=float((marked.predictions == target_class).mean()),
            statistic=statistic,
            p_value=p_value,
            rejected=p_value < self.alpha,
            alpha=self.alpha,
            images=len(benign),
        )


TESTS: Registry[type[VerificationTest]] = Registry("verification test", "sscl.verify")
