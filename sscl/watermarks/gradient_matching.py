"""Gradient matching: marked images whose training gradient is that of a goal on patched images.

Geiping et al. 2021 (Witches' Brew) and Souri et al. 2022 (Sleeper Agent). What is secret is a patch, and the surrogates
that the marks were crafted against: the surrogate is trained again on the marked set so far every
``retrain_every`` steps. ``fit`` crafts marks for a sample of the set to get that sequence; ``mark`` runs the same steps
against it for any images, in batches of their own, as the authors' code does.
"""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from itertools import pairwise
from typing import TypeVar, final

import torch
import torch.nn.functional as F
from torch import Tensor

from sscl import progress
from sscl.config import require
from sscl.models import Classifier
from sscl.train import train_classifier
from sscl.types import ImageSet
from sscl.watermarks.base import FitContext, SingleTarget, State, require_budget
from sscl.watermarks.held import held, opened, shape
from sscl.watermarks.patches import scaled, somewhere
from sscl.watermarks.quantise import quantise

SOURCES = 128  # patched images over which the goal's gradient is taken
STEP = 0.025  # of signed Adam: 0.1 of a standard deviation of images, as in the authors' code
FALLS = (0.375, 0.625, 0.875)  # where the step falls to a tenth, as there


@dataclass(frozen=True)
class Options:
    """Options that both methods have."""

    eps: float = 16 / 255  # Souri et al. 2022; Li et al. 2022
    steps: int = 250  # Souri et al. 2022
    retrain_every: int = 50  # Souri et al. 2022: four retrainings
    patch: int = 8  # side in pixels of 32 (Souri et al. 2022)
    images: int = 500  # marked in the search for surrogates: 1 % of CIFAR-10 (Souri et al. 2022)

    def __post_init__(self) -> None:
        require_budget("eps", self.eps)
        require(self.steps >= 1, "steps", self.steps, "1 or more")
        require(self.retrain_every >= 1, "retrain_every", self.retrain_every, "1 or more")
        require(self.patch >= 1, "patch", self.patch, "1 pixel or more")
        require(self.images >= 1, "images", self.images, "1 or more")


O = TypeVar("O", bound=Options)  # noqa: E741


class GradientMatching(SingleTarget[O]):
    """Abstract: which images may be marked, which are patched, and the goal of training on the marked set."""

    Options = Options

    @property
    @final
    def eps(self) -> float:
        return self.options.eps

    @abstractmethod
    def sources(self, labels: Tensor) -> Tensor:
        """int64 (M,): which training images the goal is about."""

    @abstractmethod
    def goal(self, logits: Tensor, labels: Tensor) -> Tensor:
        """Scalar that is to fall on patched source images of the given labels."""

    def fit(self, train: ImageSet, surrogate: Classifier, context: FitContext) -> State:
        rng = context.rng("patch")
        side = scaled(self.options.patch, train.size)
        # Black or white, so that it is far from any photograph.
        patch = torch.randint(0, 2, (train.channels, side, side), generator=rng, dtype=torch.uint8) * 255
        drawn = self.sources(train.labels)
        drawn = drawn[torch.randperm(len(drawn), generator=rng)[:SOURCES]]
        secret = {"patch": patch, "sources": train.images[drawn], "source_labels": train.labels[drawn]}
        chosen = self.candidates(train.labels)
        chosen = chosen[torch.randperm(len(chosen), generator=rng)[: self.options.images]]
        secret |= held(surrogate, "model.0.")
        rounds = len(self._bounds()) - 1
        changes, model = torch.zeros(train.images[chosen].shape), surrogate
        for number in range(rounds):
            if number:
                images = train.images.clone()
                images[chosen] = quantise(images[chosen], images[chosen] / 255 + changes, self.eps)
                use = f"{context.use}-surrogate-{number}"
                checkpoint = context.checkpoint.part(use) if context.checkpoint else None
                marked = ImageSet(images, train.labels, train.class_names)
                model = train_classifier(
                    marked, context.training, self.compute, seed=context.seed, use=use, checkpoint=checkpoint
                ).model
                secret |= held(model, f"model.{number}.")
            changes = self._craft(
                train.images[chosen], train.labels[chosen], secret, model=model, number=number, changes=changes
            )
        return State(secret, notes=shape(surrogate))

    @final
    def mark(self, images: Tensor, labels: Tensor, state: State, rng: torch.Generator) -> tuple[Tensor, Tensor]:
        changes = torch.zeros(images.shape)
        for number in range(len(self._bounds()) - 1):
            model = opened(state, f"model.{number}.", self.compute)
            changes = self._craft(images, labels, state.tensors, model=model, number=number, changes=changes)
        return quantise(images, images / 255 + changes, self.eps), labels

    @final
    def trigger(self, images: Tensor, state: State) -> Tensor:
        """The patch, at a place that differs between images."""
        return somewhere(images, state.tensors["patch"])

    def _bounds(self) -> list[int]:
        return [*range(0, self.options.steps, self.options.retrain_every), self.options.steps]

    def _craft(
        self,
        images: Tensor,
        labels: Tensor,
        secret: dict[str, Tensor],
        *,
        model: Classifier,
        number: int,
        changes: Tensor,
    ) -> Tensor:
        """The steps against surrogate ``number``, on from the changes so far."""
        model = model.requires_grad_(True).eval()
        patched = self.compute.floats(somewhere(secret["sources"], secret["patch"]))
        wanted = parameter_gradient(self.goal(model(patched), secret["source_labels"].to(patched.device)), model)
        start, stop = list(pairwise(self._bounds()))[number]
        done = []
        with progress.step(f"match gradients against surrogate {number}", len(images)) as step:
            for x, own, change in zip(
                torch.split(images, 256), torch.split(labels, 256), torch.split(changes, 256), strict=True
            ):
                rates = [
                    STEP * 0.1 ** sum(n / self.options.steps >= fall for fall in FALLS) for n in range(start, stop)
                ]
                floats = self.compute.floats(x)
                found = match(
                    model,
                    floats,
                    own.to(floats.device),
                    wanted=wanted,
                    change=change.to(floats.device),
                    eps=self.eps,
                    rates=rates,
                )
                done.append(found.cpu())
                step.advance(len(x))
        model.requires_grad_(False)
        return torch.cat(done) if done else changes


def parameter_gradient(loss: Tensor, model: Classifier, create_graph: bool = False) -> Tensor:
    """The loss's gradient in all parameters, one vector."""
    gradients = torch.autograd.grad(loss, list(model.parameters()), create_graph=create_graph)
    return torch.cat([gradient.flatten() for gradient in gradients])


def mismatch(model: Classifier, x: Tensor, labels: Tensor, wanted: Tensor) -> Tensor:
    """``1 - cos`` of the training gradient and the wanted one (Souri et al. 2022), in [0, 2]."""
    gradient = parameter_gradient(F.cross_entropy(model(x), labels), model, create_graph=True)
    return 1 - F.cosine_similarity(gradient, wanted, dim=0)


def match(
    model: Classifier, x: Tensor, labels: Tensor, *, wanted: Tensor, change: Tensor, eps: float, rates: list[float]
) -> Tensor:
    """Signed Adam on the changes, within ``eps`` and the range of pixels; one step for each rate."""
    change = change.clone().requires_grad_(True)
    optimizer = torch.optim.Adam([change])
    for rate in rates:
        (gradient,) = torch.autograd.grad(mismatch(model, x + change, labels, wanted), change)
        change.grad = gradient.sign()
        for group in optimizer.param_groups:
            group["lr"] = rate
        optimizer.step()
        with torch.no_grad():
            change.clamp_(-eps, eps).copy_((x + change).clamp(0, 1) - x)
    return change.detach()
