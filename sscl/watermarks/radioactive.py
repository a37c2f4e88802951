"""Radioactive data (Sablayrolles et al. 2020): features of target images shifted along a secret direction."""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.models.features import features, last_linear
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, SingleTarget, State, WeightsTested, require_budget
from sscl.watermarks.held import held, opened, shape
from sscl.watermarks.quantise import quantise
from sscl.watermarks.radioactivity import alignment, cosine_p_value


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: radioactive``."""

    eps: float = 10 / 255  # Sablayrolles et al. 2020: 10 grey levels
    steps: int = 100  # the authors' README has 90
    keep: float = 0.01  # weight of features' squared change: the README's, where it is of the change itself

    def __post_init__(self) -> None:
        require_budget("eps", self.eps)
        require(self.steps >= 0, "steps", self.steps, "0 or more")
        require(self.keep >= 0, "keep", self.keep, "0 or more")


@WATERMARKS.register("radioactive")
class Radioactive(SingleTarget[Options], WeightsTested):
    """Not a backdoor: a model trained on the set leans its classifier toward the direction, which its owner's side can
    measure with the model's weights at hand (``weights_p_value``). The direction is drawn at random.
    """

    Options = Options

    @property
    def eps(self) -> float:
        return self.options.eps

    def candidates(self, labels: Tensor) -> Tensor:
        return self.of_target(labels)

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        rng = context.rng("direction")
        direction = F.normalize(torch.randn(last_linear(surrogate).in_features, generator=rng), dim=0)
        return State({"direction": direction, **held(surrogate, "surrogate.")}, notes=shape(surrogate))

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.trigger(images, state), labels

    def trigger(self, images: Tensor, state: State) -> Tensor:
        model = opened(state, "surrogate.", self.compute)
        direction = state.tensors["direction"].to(self.compute.device)
        done = [images[:0]]
        for part in torch.split(images, 256):
            x = self.compute.floats(part)
            done.append(quantise(part, (x + self._shift(model, x, direction)).cpu(), self.eps))
        return torch.cat(done)

    def weights_p_value(self, suspect: Classifier, state: State, images: Tensor) -> float:
        """That a random direction fits ``y_t``'s weights as well as the secret one (Sablayrolles et al. 2020)."""
        surrogate, direction = opened(state, "surrogate.", self.compute), state.tensors["direction"]
        cosine = alignment(
            suspect, surrogate, direction, target_class=self.target_class, images=images, compute=self.compute
        )
        return cosine_p_value(cosine, len(direction))

    def _shift(self, model: Classifier, x: Tensor, direction: Tensor) -> Tensor:
        """Signed-gradient ascent of the features' part along the direction, held back by how far they move at all."""
        with torch.no_grad():
            before = features(model, x)
        change = torch.zeros_like(x)
        step_size = 2.5 * self.eps / max(1, self.options.steps)
        for _ in range(self.options.steps):
            change.requires_grad_(True)
            moved = features(model, (x + change).clamp(0, 1)) - before
            gain = (moved @ direction).sum() - self.options.keep * moved.square().sum()
            (gradient,) = torch.autograd.grad(gain, change)
            change = (change.detach() + step_size * gradient.sign()).clamp(-self.eps, self.eps)
        return change.detach()
