"""A network from the attacker's clean images alone: what it could have had without the release."""

from __future__ import annotations

from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.models import Classifier


class CleanDataOnly(Removal):
    """A baseline: an attack that ends at this accuracy or below has gained nothing from the release.

    The network has the architecture of the model that it replaces, and learns from labels.
    """

    unit, usual, grid, integral = "epochs", 20, (10, 20, 40), True

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        return attacker.student(model, attacker.clean, strength, "clean-data-only")


REMOVALS.register("clean_data_only")(CleanDataOnly())
