"""BLTO (Sun et al. 2024): a trigger generator and a contrastive encoder, each trained against the other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl import progress
from sscl.config import require
from sscl.data.views import VIEWS, two_views, view
from sscl.descent import descend
from sscl.learning.base import LEARNERS, SUPERVISED, frozen
from sscl.models import Classifier
from sscl.models.features import features
from sscl.models.unet import UNet, build_unet
from sscl.types import ImageSet
from sscl.watermarks.base import WATERMARKS, FitContext, SingleTarget, State, require_budget
from sscl.watermarks.quantise import quantise

USUAL = "simsiam"  # the paper's surrogate method, where the surrogate was trained with labels


@dataclass(frozen=True)
class Options:
    """``generator`` section for ``method: blto``."""

    budget: float = 8 / 255  # the paper's
    width: int = 16  # channels of the generator's first level
    rounds: int = 20  # the two levels in turn
    inner_steps: int = 10  # of the encoder, on images of which the target class's are marked
    outer_steps: int = 20  # of the generator
    batch_size: int = 128
    learning_rate: float = 1e-3  # of both, by Adam

    def __post_init__(self) -> None:
        require_budget("budget", self.budget)
        require(self.width >= 4 and self.width % 4 == 0, "width", self.width, "a multiple of 4")
        require(self.rounds >= 1, "rounds", self.rounds, "1 or more")
        require(self.inner_steps >= 0, "inner_steps", self.inner_steps, "0 or more")
        require(self.outer_steps >= 1, "outer_steps", self.outer_steps, "1 or more")
        require(self.batch_size >= 4, "batch_size", self.batch_size, "4 or more")
        require(self.learning_rate > 0, "learning_rate", self.learning_rate, "a positive number")


@WATERMARKS.register("blto")
class BLTO(SingleTarget[Options]):
    """``x_w = clip(x + budget * tanh(G(x)))``; random views of it come close to views of the target class's images."""

    Options = Options
    contrastive: ClassVar[bool] = True

    @property
    def eps(self) -> float:
        return self.options.budget

    def candidates(self, labels: Tensor) -> Tensor:
        return self.of_target(labels)

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        """Go on training a copy of the surrogate on marked images (inner level), and the generator on it (outer)."""
        o, training = self.options, context.training
        name = USUAL if training.learning == SUPERVISED else training.learning
        encoder = frozen(surrogate).to(self.compute.device).requires_grad_(True)
        learner = LEARNERS[name](encoder, context.rng("heads")).to(self.compute.device)
        generator = build_unet(train.channels, o.width, context.rng("weights")).to(self.compute.device)
        steps = torch.optim.Adam(generator.parameters(), lr=o.learning_rate)
        inner = torch.optim.Adam([*encoder.parameters(), *learner.parameters()], lr=o.learning_rate)
        transform = VIEWS["views"](train.channels, train.size)
        rng, history = context.rng("draws"), []
        target = self.candidates(train.labels)
        with progress.step(f"train {context.use}", o.rounds) as step:
            for _ in range(o.rounds):
                encoder.train()
                learner.train()
                for _ in range(o.inner_steps):
                    chosen = torch.randint(len(train), (o.batch_size,), generator=rng)
                    x = self.compute.floats(train.images[chosen])
                    with torch.no_grad():
                        marked = (train.labels[chosen] == self.target_class).to(x.device)[:, None, None, None]
                        x = torch.where(marked, self._made(generator, x), x)
                    loss = learner.loss(encoder, *two_views(transform, x, _seed(rng)))
                    descend(inner, loss)
                    learner.follow(encoder)
                encoder.eval()
                total = torch.zeros((), device=self.compute.device)
                for _ in range(o.outer_steps):
                    like = target[torch.randint(len(target), (o.batch_size,), generator=rng)]
                    chosen = torch.randint(len(train), (o.batch_size,), generator=rng)
                    made = self._made(generator, self.compute.floats(train.images[chosen]))
                    with torch.no_grad():
                        wanted = features(encoder, view(transform, self.compute.floats(train.images[like]), _seed(rng)))
                    found = features(encoder, view(transform, made, _seed(rng)))
                    loss = 1 - F.cosine_similarity(found.float(), wanted.float(), dim=1).mean()
                    descend(steps, loss)
                    total += loss.detach()
                history.append({"distance": float(total) / o.outer_steps})
                step.advance(1)
        return State({name: value.detach().cpu() for name, value in generator.state_dict().items()}, history)

    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        return self.trigger(images, state), labels

    @torch.no_grad()
    def trigger(self, images: Tensor, state: State) -> Tensor:
        generator = build_unet(images.shape[1], self.options.width)
        generator.load_state_dict(state.tensors)
        generator = generator.to(self.compute.device).eval()
        done = [images[:0]]
        for part in torch.split(images, 256):
            done.append(quantise(part, self._made(generator, self.compute.floats(part)).cpu(), self.options.budget))
        return torch.cat(done)

    def _made(self, generator: UNet, x: Tensor) -> Tensor:
        return (x + self.options.budget * torch.tanh(generator(x).float())).clamp(0, 1)


def _seed(rng: torch.Generator) -> int:
    return int(torch.randint(2**62, (1,), generator=rng))
