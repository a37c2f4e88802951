"""What a contrastive method is: heads on an encoder's features, and a loss over two random views of every image."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from typing import ClassVar, TypeVar, final

import torch
from torch import Tensor, nn

from sscl.models import Classifier
from sscl.models.base import initialise
from sscl.models.features import features, width
from sscl.registry import Registry

M = TypeVar("M", bound=nn.Module)
SUPERVISED = "supervised"  # what a configuration calls learning with labels


class Learner(nn.Module, ABC):
    """One contrastive method while it trains one encoder; its state is saved with the encoder's.

    Args:
        encoder: a classifier whose features are trained. Its last linear layer takes no part.
        rng: what the heads' initial weights are drawn from.
    """

    momentum: ClassVar[float | None] = None  # of a copy that lags behind; ``None`` for methods without one

    def __init__(self, encoder: Classifier, rng: torch.Generator) -> None:
        super().__init__()
        with torch.device("meta"):
            self.heads = nn.ModuleDict(self.build(width(encoder)))
        self.heads.to_empty(device="cpu")
        initialise(self.heads, rng)
        self.target_encoder: Classifier | None = None
        if self.momentum is not None:
            self.target_encoder = frozen(encoder)
            self.target_heads = frozen(self.heads)

    @abstractmethod
    def build(self, features: int) -> dict[str, nn.Module]:
        """The heads for features of this width."""

    @abstractmethod
    def loss(self, encoder: Classifier, first: Tensor, second: Tensor) -> Tensor:
        """Scalar loss to minimise, of two views (N, C, H, W) of the same images, floats in [0, 1]."""

    def embed(self, encoder: Classifier, views: Tensor) -> Tensor:
        """The views' projections, (N, D)."""
        found: Tensor = self.heads["projection"](features(encoder, views))
        return found

    def embed_target(self, views: Tensor) -> Tensor:
        """The same by the copy that lags behind, without a gradient."""
        assert self.target_encoder is not None
        with torch.no_grad():
            found: Tensor = self.target_heads["projection"](features(self.target_encoder, views))
        return found

    @final
    @torch.no_grad()
    def follow(self, encoder: Classifier) -> None:
        """Move the copy toward the encoder; called after every step."""
        if self.momentum is None or self.target_encoder is None:
            return
        for lagging, leading in ((self.target_encoder, encoder), (self.target_heads, self.heads)):
            for old, new in zip(lagging.parameters(), leading.parameters(), strict=True):
                old.lerp_(new, 1 - self.momentum)


LEARNERS: Registry[type[Learner]] = Registry("learning method", "sscl.learning", base=Learner, classes=True)


def frozen(module: M) -> M:
    """A copy whose weights no gradient changes."""
    return copy.deepcopy(module).requires_grad_(False)
