"""Fine-tuning of all layers on clean images."""

from __future__ import annotations

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier


class FineTuning(Removal):
    """A tenth of the training's learning rate, constant."""

    unit, usual, grid, integral = "epochs", 10, (1, 5, 10, 20), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return attacker.fine_tuned(model, int(strength), "fine-tuning")


REMOVALS.register("fine_tuning")(FineTuning())
