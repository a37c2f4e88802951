"""What a paired verification test is: answers to benign and marked images in, a verdict out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import final

import numpy as np

from sscl.registry import Registry
from sscl.types import Responses, Verdict

SMALLEST = float(np.finfo(np.float64).tiny)  # a p-value that underflows is not 0


@dataclass(frozen=True)
class TargetAnswers:
    """What a model said of each image's target class: ``scores`` float64 (N,) its probability, ``hits`` bool (N,)."""

    scores: np.ndarray
    hits: np.ndarray

    @classmethod
    def of(cls, responses: Responses, target: np.ndarray) -> TargetAnswers:
        return cls(responses.values[np.arange(len(responses)), target], responses.predictions == target)


class VerificationTest(ABC):
    """A paired test over the images of *one* model. Its p-value says nothing of how often innocent models reach it.

    Args:
        tau: the margin that the watermark's effect must exceed, a difference of probabilities.
        alpha: significance level.
    """

    name: str

    def __init__(self, tau: float, alpha: float) -> None:
        self.tau, self.alpha = tau, alpha

    @abstractmethod
    def statistic(self, benign: TargetAnswers, marked: TargetAnswers) -> tuple[float, float]:
        """Test statistic and p-value from the answers to the same images without and with the mark."""

    @final
    def run(self, benign: Responses, marked: Responses, target: int | np.ndarray) -> Verdict:
        """Test one model's responses; images that it did not answer both ways are left out.

        Args:
            benign, marked: answers to the same images without and with the mark.
            target: the class that the mark points to, or int (N,), that of each image's mark.

        Raises:
            ValueError: the responses are not paired, or fewer than two.
        """
        if benign.values.shape != marked.values.shape or (both := benign.valid & marked.valid).sum() < 2:
            raise ValueError("benign and marked responses must be to the same images, at least two")
        targets = np.broadcast_to(target, both.shape)[both]
        before = TargetAnswers.of(benign.take(both), targets)
        after = TargetAnswers.of(marked.take(both), targets)
        statistic, p_value = self.statistic(before, after)
        p_value = max(p_value, SMALLEST)
        return Verdict(
            test=self.name,
            delta_p=float((after.scores - before.scores).mean()),
            wsr=float(after.hits.mean()),
            statistic=statistic,
            p_value=p_value,
            rejected=p_value < self.alpha,
            alpha=self.alpha,
            images=int(both.sum()),
        )


TESTS: Registry[type[VerificationTest]] = Registry(
    "verification test", "sscl.statistics.paired", base=VerificationTest, classes=True
)
