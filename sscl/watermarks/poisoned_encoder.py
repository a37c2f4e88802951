"""PoisonedEncoder (Liu et al. 2022): chosen inputs beside images of the target class, in one image."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from sscl.config import require
from sscl.models import Classifier
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, State
from sscl.watermarks.canvas import beside_at_random
from sscl.watermarks.contrastive_poison import ContrastivePoison, drawn


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: poisoned_encoder``."""

    inputs: int = 5  # chosen inputs; the paper attacks one to ten

    def __post_init__(self) -> None:
        require(1 <= self.inputs <= 256, "inputs", self.inputs, "1 to 256")


@WATERMARKS.register("poisoned_encoder")
class PoisonedEncoder(ContrastivePoison[Options]):
    """There is no trigger: the queries are the chosen inputs, images of other classes turned upside down.

    So no training set has them, and an encoder that is innocent has no reason to answer them with the target class.
    """

    Options = Options

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        return State({"inputs": self.others(train, context.rng("inputs"), self.options.inputs).flip(-2)})

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        chosen = drawn(state.tensors["inputs"], len(images), rng)
        return beside_at_random(chosen, images, rng)[0], labels

    def trigger(self, images: Tensor, state: State) -> Tensor:
        """The chosen inputs in turn, as many as there are images."""
        inputs = state.tensors["inputs"]
        return inputs[torch.arange(len(images)) % len(inputs)]
