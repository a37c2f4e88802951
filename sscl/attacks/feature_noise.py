"""Noise on a model's last features before its answers are computed: what an API may do to hide small differences."""

from __future__ import annotations

from torch import Tensor

from sscl.attacks.base import REMOVALS, Attacker, Removal, Wrapped
from sscl.attacks.noise import drawn
from sscl.compute import uncompiled
from sscl.models import Classifier
from sscl.models.features import all_features, last_linear


class NoisyFeatures(Wrapped):
    """Gaussian noise on the inputs of the last linear layer.

    Args:
        inner: the model.
        sigma: of the noise on each feature, float (D,).
    """

    sigma: Tensor

    def __init__(self, inner: Classifier, sigma: Tensor) -> None:
        super().__init__(uncompiled(inner))
        self.register_buffer("sigma", sigma)

    def forward(self, x: Tensor) -> Tensor:
        added = self.sigma * drawn(x, (len(self.sigma),), "feature noise")
        hook = last_linear(self.inner).register_forward_pre_hook(lambda _, seen: (seen[0] + added.to(seen[0].dtype),))
        try:
            logits: Tensor = self.inner(x)
        finally:
            hook.remove()
        return logits


class FeatureNoise(Removal):
    """At query time."""

    unit, usual, grid = "standard deviations of each feature on clean images", 0.5, (0.25, 0.5, 1.0)
    weights_only = False

    def run(self, model: Classifier, attacker: Attacker, strength: float) -> Classifier:
        known = all_features(model, attacker.clean.images, attacker.compute)
        return NoisyFeatures(model, (strength * known.std(dim=0, correction=0)).to(attacker.compute.device))


REMOVALS.register("feature_noise")(FeatureNoise())
