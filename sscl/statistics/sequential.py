"""The sequential test: mark by mark, stopping whenever the evidence is enough; the level holds whenever it stops.

Given the groups of the earlier marks, the next one's is drawn by ``words.chances``. A bet on it multiplies the wealth
by

    e_k = softmax(beta * A[k] + log(chances))[w(k)] / chances[w(k)]

whose mean over that draw is 1, whatever the answers are. So the wealth is a martingale under the null hypothesis, and
``P(it ever reaches 1 / alpha) <= alpha`` (Ville 1939). The wealth is the mean over several ``beta``, fixed beforehand,
because how strongly a suspect reacts is not known; a mean of martingales is one.
"""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np

from sscl.statistics import words

BETAS = (0.5, 1.0, 2.0, 4.0, 8.0, 16.0)


@dataclass
class Wealth:
    """The running bets of one audit.

    Args:
        alpha: level.
        marks, groups: of the word.

    Attributes:
        highest: log of the largest wealth so far, which Ville's inequality is about.
        asked: how many marks were bet on.
    """

    alpha: float
    marks: int
    groups: int
    highest: float = field(default=0.0, init=False)
    asked: int = field(default=0, init=False)
    _bets: np.ndarray = field(init=False)
    _uses: np.ndarray = field(init=False)

    def __post_init__(self) -> None:
        self._bets, self._uses = np.zeros(len(BETAS)), np.zeros(self.groups, dtype=np.int64)

    def add(self, effects: np.ndarray, group: int, doubt: np.ndarray | float = 0.0) -> None:
        """Bet on the next mark.

        Args:
            effects: float64 (C,), its row of the matrix; reference effects may be subtracted before.
            group: the word's group for it.
            doubt: float64 (C,), by how much unseen changes of answers can change each effect. The bet is settled as if
                they had been made in the word's favour: it never wins more than on the unchanged answers.

        Raises:
            ValueError: not finite, more marks than the word has, or a group that no word has here.
        """
        if effects.shape != (self.groups,) or not np.isfinite(effects).all():
            raise ValueError(f"effects must be {self.groups} finite numbers")
        if self.asked >= self.marks:
            raise ValueError(f"the word has {self.marks} marks")
        chances = words.chances(self._uses, self.marks)
        if not chances[group] > 0:
            raise ValueError(f"no word gives group {group} to mark {self.asked}")
        possible = np.flatnonzero(chances)
        against = effects + np.where(np.arange(self.groups) == group, -doubt, doubt)
        exponents = np.outer(BETAS, against[possible]) + np.log(chances[possible])
        own = int(np.flatnonzero(possible == group)[0])
        self._bets += exponents[:, own] - np.logaddexp.reduce(exponents, axis=1) - np.log(chances[group])
        self._uses[group] += 1
        self.asked += 1
        self.highest = max(self.highest, self.log_wealth)

    @property
    def log_wealth(self) -> float:
        """Log of the wealth now, which began at 1: an e-value."""
        return float(np.logaddexp.reduce(self._bets) - np.log(len(BETAS)))

    @property
    def p_value(self) -> float:
        """Anytime-valid, in (0, 1]: one over the largest wealth."""
        return float(np.exp(-self.highest))

    @property
    def rejects(self) -> bool:
        return self.p_value <= self.alpha

    @property
    def finished(self) -> bool:
        """Whether no further mark is needed: evidence enough, or none left."""
        return self.rejects or self.asked >= self.marks
