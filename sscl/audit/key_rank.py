"""The key-randomised test: the released key's rank among a fixed number of decoys."""

from __future__ import annotations

from sscl.audit.base import KEY_TESTS, KeyTest
from sscl.verify.rank import floor, rank_p_value


@KEY_TESTS.register("key_rank")
class KeyRank(KeyTest):
    """``p = (1 + #{decoys >= released}) / (1 + decoys)``; see ``sscl.verify.rank``."""

    name = "key_rank"
    asks_all = True

    def __init__(self, alpha: float, decoys: int, released: float) -> None:
        super().__init__(alpha, decoys, released)
        self.others: list[float] = []

    def add(self, decoy: float) -> None:
        self.others.append(decoy)

    @property
    def done(self) -> bool:
        return len(self.others) >= self.decoys

    @property
    def p_value(self) -> float:
        return rank_p_value(self.released, self.others)

    @classmethod
    def floor(cls, alpha: float, decoys: int) -> float:
        return floor(decoys)
