"""The same question asked sequentially: it stops as soon as the evidence is strong, or as it cannot become so."""

from __future__ import annotations

from sscl.audit.base import KEY_TESTS, KeyTest
from sscl.verify.sequential import Wealth, wealth


@KEY_TESTS.register("key_sequential")
class KeySequential(KeyTest):
    """Anytime-valid by betting; see ``sscl.verify.sequential``. The suspect must not change during the audit."""

    name = "key_sequential"
    asks_all = False

    def __init__(self, alpha: float, decoys: int, released: float) -> None:
        super().__init__(alpha, decoys, released)
        self.wealth = Wealth(alpha)

    def add(self, decoy: float) -> None:
        self.wealth.add(self.released, decoy)

    @property
    def done(self) -> bool:
        return self.wealth.finished(self.decoys)

    @property
    def p_value(self) -> float:
        return self.wealth.p_value

    @classmethod
    def floor(cls, alpha: float, decoys: int) -> float:
        return 1 / wealth(0, decoys, alpha)
