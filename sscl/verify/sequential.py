"""Sequential form of the rank test: decoys one at a time, stop whenever you like, the level still holds.

Under the null hypothesis the released key's rank among decoys is uniform, so the number of decoys that reach it follows
Polya's urn: after ``t`` decoys with ``L`` losses, ``P(next is a loss) = (L + 1) / (t + 2)``. Betting against that with
the alternative "the chance of a loss is uniform on [0, c]" gives the wealth

    W_t = I_c(L + 1, t - L + 1) / c

with ``I`` the regularised incomplete beta function. ``W`` is a martingale of mean 1 (a supermartingale with ties, which
count as losses), so ``P(some W_t >= 1 / alpha) <= alpha`` (Ville 1939): an anytime-valid test (Fischer and Ramdas,
"Sequential Monte-Carlo testing by betting", 2024, binomial mixture strategy).
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from scipy import special


def wealth(losses: int, decoys: int, alpha: float) -> float:
    """``W_t`` after ``decoys`` of which ``losses`` reached the released key, with ``c = alpha / 2``."""
    return float(special.betainc(losses + 1, decoys - losses + 1, alpha / 2)) / (alpha / 2)


@dataclass
class Wealth:
    """The running bet.

    Args:
        alpha: level of the test; the bet's ``c`` is ``alpha / 2``: a smaller one needs fewer decoys when none of them
            reaches the released key, a larger one forgives more losses.

    Attributes:
        decoys, losses: counts so far.
        highest: largest wealth so far, which is what Ville's inequality is about.
    """

    alpha: float
    decoys: int = 0
    losses: int = 0
    highest: float = field(default=1.0)

    def add(self, observed: float, decoy: float) -> None:
        """Bet on one more decoy's statistic.

        Raises:
            ValueError: a statistic is not finite.
        """
        if not (math.isfinite(observed) and math.isfinite(decoy)):
            raise ValueError("statistics must be finite")
        self.decoys += 1
        self.losses += decoy >= observed
        self.highest = max(self.highest, self.value)

    @property
    def value(self) -> float:
        """Wealth now, starting from 1: an e-value."""
        return wealth(self.losses, self.decoys, self.alpha)

    @property
    def p_value(self) -> float:
        """Anytime-valid: ``1 / highest``, in (0, 1]."""
        return min(1.0, 1.0 / self.highest)

    @property
    def rejects(self) -> bool:
        return self.p_value <= self.alpha

    def hopeless(self, most: int) -> bool:
        """Whether even ``most`` decoys in all could not lead to rejection any more."""
        return not self.rejects and wealth(self.losses, most, self.alpha) < 1 / self.alpha

    def finished(self, most: int) -> bool:
        """Whether the next of at most ``most`` decoys is not needed: evidence enough, none left, or hopeless."""
        return self.rejects or self.decoys >= most or self.hopeless(most)


def decoys_to_reject(alpha: float, losses: int = 0) -> int:
    """How many decoys the sequential test takes to reject if ``losses`` of them reach the released key."""
    count = losses
    while wealth(losses, count, alpha) < 1 / alpha:
        count += 1
    return count
