"""Attacks on the release, on the training and on queries at once: the three hybrids of DATABench (Shao et al. 2025)."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

from sscl.attacks.autoencoder import AutoencoderTraining, redrawn
from sscl.attacks.base import REMOVALS, Attacker, Removal
from sscl.attacks.release_filters import ReleaseWavelet
from sscl.models import Classifier
from sscl.types import ImageSet


class Hybrid(Removal):
    """A fresh model on a changed release, and changed queries; every part at so many times its usual strength.

    Args:
        change: of all released images.
        usual_change: its usual strength.
        training: name of an attack that trains; ``None`` to train as usual.
        queries: name of an attack that changes queries.
    """

    unit, usual, grid = "usual strengths of its parts", 1.0, (0.5, 1.0, 2.0)
    weights_only = False

    def __init__(
        self,
        change: Callable[[Attacker, float], ImageSet],
        usual_change: float,
        training: str | None,
        queries: str,
    ) -> None:
        self.change, self.usual_change, self.training, self.queries = change, usual_change, training, queries

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        prepared = replace(attacker, released=self.change(attacker, strength * self.usual_change))
        if self.training is None:
            trained = prepared.trained(prepared.released, "hybrid")
        else:
            trained = part(self.training, model, prepared, strength)
        return part(self.queries, trained, prepared, strength)


def part(name: str, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
    """An attack at so many times its usual strength."""
    attack = REMOVALS[name]
    amount = strength * attack.usual
    return attack(model, attacker, max(1, round(amount)) if attack.integral else amount)


REMOVALS.register("hybrid_autoencoder")(
    Hybrid(redrawn, AutoencoderTraining.usual, "adversarial_training", "reprogramming")
)
SHRUNK = ReleaseWavelet().filtered
REMOVALS.register("hybrid_privacy")(Hybrid(SHRUNK, ReleaseWavelet.usual, "dp_sgd", "randomised_smoothing"))
REMOVALS.register("hybrid_wavelet")(Hybrid(SHRUNK, ReleaseWavelet.usual, None, "reprogramming"))
