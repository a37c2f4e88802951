"""Fine-pruning (Liu et al. 2018): pruning, then fine-tuning of what is left."""

from __future__ import annotations

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.attacks.pruning import finish, least_active, mask_inputs
from sscl.models import Classifier

EPOCHS = 5  # of fine-tuning


class FinePruning(Removal):
    """Pruned inputs stay pruned."""

    unit, usual, grid = "share of inputs", 0.4, (0.2, 0.4, 0.6, 0.8)

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        mask_inputs(model, least_active(model, attacker, min(strength, 1.0)))
        return finish(attacker.fine_tuned(model, EPOCHS, "fine-pruning"))


REMOVALS.register("fine_pruning")(FinePruning())
