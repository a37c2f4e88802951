"""What a test over keys is: the released key's statistic, then decoys' one at a time, a p-value at the end."""

from __future__ import annotations

from abc import ABC, abstractmethod

from sscl.registry import Registry


class KeyTest(ABC):
    """``H0``: the model is independent of which key was released.

    Then the released key and the decoys, drawn by the same procedure, are exchangeable, whatever the model is, and
    ``P(p <= a) <= a`` holds exactly, in finite samples.

    Args:
        alpha: significance level.
        decoys: how many decoys there will be at most.
        released: the released key's statistic.
    """

    name: str
    asks_all: bool  # whatever the answers are; then keys come in a random order, and a suspect may change meanwhile

    def __init__(self, alpha: float, decoys: int, released: float) -> None:
        self.alpha, self.decoys, self.released = alpha, decoys, released

    @abstractmethod
    def add(self, decoy: float) -> None:
        """One more decoy's statistic."""

    @property
    @abstractmethod
    def done(self) -> bool:
        """Whether no further decoy is needed."""

    @property
    @abstractmethod
    def p_value(self) -> float:
        """Valid when ``done``; never 0."""

    @classmethod
    @abstractmethod
    def floor(cls, alpha: float, decoys: int) -> float:
        """The smallest p-value that so many decoys allow."""


KEY_TESTS: Registry[type[KeyTest]] = Registry("key test", "sscl.audit")
