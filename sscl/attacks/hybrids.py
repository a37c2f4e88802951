"""Several attacks on one model: before its training, after it, on every query (after DATABench, Shao et al. 2025)."""

from __future__ import annotations

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier

TRAINING, WEIGHTS, QUERIES = "train_blur", "fine_pruning", "query_jpeg"


class Hybrid(Removal):
    """One attack after another, each at so many times its usual strength.

    Args:
        parts: names of the attacks, in the order of a model's life.
    """

    unit, usual, grid = "usual strengths of its parts", 1.0, (0.5, 1.0, 2.0)
    weights_only = False

    def __init__(self, *parts: str) -> None:
        self.parts = parts

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        for name in self.parts:
            part = REMOVALS[name]
            amount = strength * part.usual
            model = part(model, attacker, max(1, round(amount)) if part.integral else amount)
        return model


class HybridOfWeights(Hybrid):
    """Without an attack on queries."""

    weights_only = True


REMOVALS.register("hybrid_training_weights")(HybridOfWeights(TRAINING, WEIGHTS))
REMOVALS.register("hybrid_weights_queries")(Hybrid(WEIGHTS, QUERIES))
REMOVALS.register("hybrid_all")(Hybrid(TRAINING, WEIGHTS, QUERIES))
